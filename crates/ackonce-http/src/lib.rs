#![doc = include_str!("../README.md")]

pub mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod edge;
mod endpoint;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod identity;
mod layer;
mod operation;
mod options;
#[cfg(feature = "post")]
pub mod post;
pub mod problem;
mod response;
mod service;
pub mod sql;

pub use endpoint::METRICS;
#[cfg(feature = "axum")]
pub use extract::NoOperation;
pub use future::ResponseFuture;
pub use identity::{
    FingerprintOf, IDEMPOTENCY_KEY, IdempotencyKey, InvalidKey, MAX_KEY_LEN, Payload, Principal, Target,
};
pub use layer::IdempotencyLayer;
pub use operation::Operation;
pub use options::{Gate, InFlight, Need, Options, Policy, Streams};
pub use response::{
    Cookies, Headers, Kept, REPLAY_UNAVAILABLE, REPLAYED, RecordError, ResponseBody, StoredResponse,
};
pub use service::Idempotency;
