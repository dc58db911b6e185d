//! `ackonce relay` as a user runs it, with its sinks as processes: killed, stopped, away, and misused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod any_language;
mod away;
mod drains;
mod effects;
mod feeds;
mod kills;
mod outbox;
mod probes;
mod refusals;
mod rights;
mod running;
mod stops;

/// Not a test of its own: the process of a sink, started by the others with its plan in the environment.
#[test]
fn sink_process() {
    if let Ok(plan) = std::env::var(effects::HTTP) {
        effects::serve(&plan);
    }
    if let Ok(dir) = std::env::var(effects::EXEC) {
        effects::run(&dir);
    }
}
