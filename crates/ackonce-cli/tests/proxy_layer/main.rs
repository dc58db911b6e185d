//! The behaviours that the layer's own tests ask, with the proxy's forwarder in it: each handler of those tests runs in a
//! server of its own, behind TCP, that knows nothing of keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;
#[path = "../../../ackonce-http/tests/layer/flight.rs"]
mod flight;
#[path = "../../../ackonce-http/tests/layer/gate.rs"]
mod gate;
#[path = "../../../ackonce-http/tests/layer/keep.rs"]
mod keep;
#[path = "../../../ackonce-http/tests/layer/replay.rs"]
mod replay;
#[path = "../../../ackonce-http/tests/layer/same.rs"]
mod same;
#[path = "../../../ackonce-http/tests/layer/streams.rs"]
mod streams;
#[path = "../../../ackonce-http/tests/layer/target.rs"]
mod target;
mod trailers;
#[path = "../../../ackonce-http/tests/layer/trouble.rs"]
mod trouble;
#[path = "../../../ackonce-http/tests/layer/upload.rs"]
mod upload;
