//! The layer around a service that counts its runs. Each test names the behaviour that it holds us to; the table in
//! the crate's documentation says where each came from.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;
mod flight;
mod gate;
mod keep;
mod replay;
mod same;
mod streams;
mod target;
mod trouble;
mod upload;
