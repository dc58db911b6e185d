//! `ackonce proxy`: the `Idempotency-Key` layer in front of any HTTP service.
//!
//! The promise is that of [`ackonce_http`]: here are only a tower service that forwards a request to the upstream, the
//! server in front of both, and the flags.

mod args;
mod body;
mod client;
mod forward;
mod front;
mod headers;
mod idle;
mod options;
mod run;
mod server;
mod tunnel;
mod upstream;

pub use args::{
    Forwarded, HostHeader, InFlightArg, OnStartArg, PolicyArg, PrincipalArg, ProxyArgs, UnknownArg,
};
pub use body::{AnswerBody, ForwardBody};
pub use forward::{Broken, Forward};
pub use front::REPLAYABLE;
pub use headers::Peer;
pub use options::Plan;
pub use run::run;
pub use upstream::{Upstream, UpstreamParser};
