#![doc = include_str!("../README.md")]

pub mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod edge;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod headers;
mod incoming;
mod key;
mod layer;
mod operation;
mod options;
mod outlive;
mod payload;
mod principal;
pub mod problem;
mod problems;
mod record;
mod response;
mod run;
mod service;
pub mod sql;
mod target;

#[cfg(feature = "axum")]
pub use extract::NoOperation;
pub use future::ResponseFuture;
pub use headers::{Cookies, Headers};
pub use key::{IDEMPOTENCY_KEY, IdempotencyKey, InvalidKey, MAX_KEY_LEN};
pub use layer::IdempotencyLayer;
pub use operation::Operation;
pub use options::{Gate, InFlight, Need, Options, Policy, Streams};
pub use payload::{FingerprintOf, Payload};
pub use principal::Principal;
pub use record::{Kept, REPLAY_UNAVAILABLE, REPLAYED, RecordError, StoredResponse};
pub use response::ResponseBody;
pub use service::{Idempotency, METRICS};
pub use target::Target;
