#![doc = include_str!("../README.md")]

mod bury;
mod chain;
mod claim;
mod class;
mod coalesce;
mod context;
mod deduplicator;
mod delivery;
mod dropping;
mod error;
mod failure;
mod fingerprint;
mod guard;
pub mod guide;
mod handler;
mod heartbeat;
mod ids;
mod inspect;
mod journal;
mod key;
mod memory;
mod newest;
mod observe;
pub mod protocol;
mod record;
mod runner;
pub mod schedule;
mod settings;
mod settle;
#[cfg(feature = "signal")]
mod signal;
mod start;
mod steps;
mod store_settings;
mod switch;
mod ticket;

pub use adapter::Order;
pub use chain::{Chain, chain};
pub use claim::Previous;
pub use class::Class;
pub use context::Context;
pub use deduplicator::Deduplicator;
pub use error::{BoxError, Error, ErrorKind, Result};
pub use failure::{Failure, FailureKind, FailureKinds};
pub use handler::{Answer, AtMostOnce, Batch, Effect, Handler, Item, Keyed, MapErr, Reply};
pub use ids::{IdError, IdSource, MessageIds};
pub use key::{Key, KeyError, Scope};
pub use memory::MemoryStore;
pub use newest::{EntityVersion, MAX_VERSION_LEN, Newest, VersionError, VersionOrder, Versions};
pub use observe::{Activity, Counts, RunnerActivity, RunningMessage, RunningNow, trace};
pub use runner::Runner;
pub use settings::{Backoff, Found, OnFailure, OnMismatch, OnMissing, OnStart, OnUnknown, Probe, Settings};
#[cfg(feature = "signal")]
pub use signal::shutdown_on_signals;
pub use start::connect_at_start;
pub use steps::{MAX_STEP_LEN, MAX_STEPS_LEN, Step, StepName};

/// The signal type that [`Context::new`] takes; from `tokio-util`.
pub use tokio_util::sync::CancellationToken;

/// For authors of stores, and for code that claims and settles by itself: requests, answers, records, inspection.
pub mod store {
    mod explain;
    mod remember;
    mod span;
    mod suspects;
    mod value;

    pub use self::explain::explain;
    pub use self::remember::{Remembered, remember};
    pub use self::span::span;
    pub use self::suspects::Suspects;
    pub use self::value::{MAX_VALUE_LEN, check_value_len, value_too_long};
    pub use crate::claim::{ClaimRequest, Claimed, Lease, Token};
    pub use crate::coalesce::Coalesce;
    pub use crate::deduplicator::{DeduplicatorExt, Description};
    pub use crate::error::Repeat;
    pub use crate::fingerprint::Fingerprint;
    pub use crate::guard::{DEFAULT_WINDOW, Entered, GuardOptions};
    pub use crate::inspect::{
        AdminOutcome, AuditEntry, Entry, Filter, Inspect, Note, PAGE_TIME, Page, Query, RecordTarget,
        ScopeStats, Stats,
    };
    pub use crate::journal::RecordedStep;
    pub use crate::key::{DEFAULT_MAX_ID_LEN, MAX_SCOPE_LEN};
    pub use crate::record::{Record, State};
    pub use crate::settle::{Attempt, Settle, Settled, Settlement};
    pub use crate::store_settings::{Names, OnUnsafe, Sweep};
}

/// For authors of adapters: deliveries on their way from a broker to a receipt.
pub mod adapter {
    mod dead_letter;
    pub mod headers;
    mod intake;
    mod letter;
    mod order;
    mod state;
    mod stop;

    pub use self::dead_letter::{DeadLetter, LetterFilter, LettersMoved, Redrive};
    pub use self::intake::Intake;
    pub use self::letter::{HeaderValue, MAX_REASON_LEN, burial_proof, copy_headers, cut, payload_digest};
    pub use self::order::Order;
    pub use self::state::{Phase, Waits};
    pub use self::stop::until_stop;
    pub use crate::bury::{
        Burial, BurialProof, BuryError, Graveyard, Letter, NoDeadLetters, NoProof, RecordOnly,
    };
    pub use crate::ids::Identify;
    pub use crate::key::hex;
    pub use crate::observe::{metric, panic_text};
    pub use crate::runner::{Guarantee, Mode, Ordered};
    pub use crate::ticket::{Delivery, Job, Receipt, SettledAs, Stage, Unsettled, Why};
}
