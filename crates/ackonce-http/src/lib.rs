#![doc = include_str!("../README.md")]

pub mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod edge;
mod future;
mod key;
mod layer;
mod operation;
mod options;
mod outlive;
mod payload;
mod principal;
pub mod problem;
mod record;
mod response;
mod run;
mod service;
pub mod sql;

pub use future::ResponseFuture;
pub use key::{IDEMPOTENCY_KEY, IdempotencyKey, KeyError, MAX_KEY_LEN};
pub use layer::IdempotencyLayer;
pub use operation::Operation;
pub use options::{Gate, InFlight, Need, Options, Policy};
pub use payload::Payload;
pub use principal::Principal;
pub use record::{Cookies, Kept, REPLAYED, RecordError, StoredResponse};
pub use response::ResponseBody;
pub use service::Idempotency;
