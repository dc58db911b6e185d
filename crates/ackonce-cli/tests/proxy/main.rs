//! `ackonce proxy` as a process, in front of a service that knows nothing of keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod any_language;
mod faults;
mod flow;
mod promise;
mod rights;
mod service;
mod started;
