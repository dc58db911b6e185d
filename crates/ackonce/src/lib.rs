//! stub

mod claim;
mod class;
mod context;
mod error;
mod handler;
mod key;
mod memory;
pub mod protocol;
mod record;
mod settle;
mod store;
mod ticket;

pub use claim::{ClaimRequest, Claimed, Fingerprint, Lease, Previous, Token};
pub use class::Class;
pub use context::Context;
pub use error::{BoxError, Error, ErrorKind, Repeat, Result};
pub use handler::{Answer, AtMostOnce, Batch, Effect, Failure, Handler, Item, Keyed};
pub use key::{DEFAULT_MAX_ID_LEN, Key, KeyError, MAX_SCOPE_LEN, Scope};
pub use memory::MemoryStore;
pub use record::{Record, State};
pub use settle::{Attempt, Settle, Settled, Settlement};
pub use store::{Deduplicator, DeduplicatorExt, Description};
pub use ticket::{Delivery, Job, Receipt, SettledAs, Ticket, Unsettled};
/// The signal type that [`Context::new`] takes; from `tokio-util`.
pub use tokio_util::sync::CancellationToken;
