//! `ackonce demo`: Ackonce under `kill -9`, beside the loops that teams write by hand.

mod args;
mod arm;
mod broker;
mod contest;
mod counter;
mod fleet;
mod plan;
mod progress;
mod report;
mod run;
mod samples;
mod setting;
mod work;
mod worker;

use std::time::{Duration, SystemTime};

pub use args::{BrokerKind, DemoArgs, DemoClass};
pub use run::{Verdict, run};
pub use setting::UsageError;
pub use worker::{WorkerArgs, run as run_worker};

/// Microseconds since the Unix epoch.
fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
