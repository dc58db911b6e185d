#![doc = include_str!("../README.md")]

mod bury;
mod chain;
mod claim;
mod class;
mod coalesce;
mod context;
mod error;
mod failure;
pub mod guide;
mod handler;
mod heartbeat;
mod ids;
mod inspect;
mod key;
mod memory;
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
mod store;
mod switch;
mod ticket;

pub use bury::{Burial, BurialProof, BuryError, Graveyard, Letter, NoDeadLetters, NoProof, RecordOnly};
pub use chain::{Chain, chain};
pub use claim::{ClaimRequest, Claimed, Fingerprint, Lease, Previous, Token};
pub use class::Class;
pub use coalesce::Coalesce;
pub use context::Context;
pub use error::{BoxError, Error, ErrorKind, Repeat, Result};
pub use failure::{Failure, FailureKind, FailureKinds};
pub use handler::{Answer, AtMostOnce, Batch, Effect, Handler, Item, Keyed, MapErr, Reply};
pub use ids::{IdError, IdSource, Identify, MessageIds};
pub use inspect::{AdminOutcome, Entry, Inspect, Note, Page, Query, Stats};
pub use key::{DEFAULT_MAX_ID_LEN, Key, KeyError, MAX_SCOPE_LEN, Scope};
pub use memory::MemoryStore;
pub use observe::{Counts, metric};
pub use record::{Record, State};
pub use runner::{Guarantee, Mode, Ordered, Runner};
pub use settings::{Backoff, Found, OnFailure, OnMismatch, OnStart, OnUnknown, Probe, Settings};
pub use settle::{Attempt, Settle, Settled, Settlement};
#[cfg(feature = "signal")]
pub use signal::shutdown_on_signals;
pub use start::connect_at_start;
pub use store::{Deduplicator, DeduplicatorExt, Description};
pub use ticket::{Delivery, Job, Receipt, SettledAs, Stage, Ticket, Unsettled, Why};
/// The signal type that [`Context::new`] takes; from `tokio-util`.
pub use tokio_util::sync::CancellationToken;
