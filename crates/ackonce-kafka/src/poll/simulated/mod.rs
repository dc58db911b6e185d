//! Consumers on a simulated group: intake, limits, deliveries, their ends and the offset tracker are the real ones, and the
//! poll thread is played by [`reader`].
//!
//! A seed that fails names the command that replays it. `ACKONCE_SEEDS=100000` makes a long run.

mod broker;
mod group;
mod reader;

use std::sync::Arc;

use ackonce_sim::{Bug, Numbered, Plan, Ran, explore, finds, repeats, simulate};

use self::broker::SimulatedKafka;
use crate::KafkaMessage;

/// Between two offsets, as compaction and transactions leave them.
const GAP: i64 = 3;

fn run(plan: Plan, is_kept: bool) -> Ran {
    simulate(plan, is_kept, |world| Arc::new(SimulatedKafka::new(world.clone())))
}

impl Numbered for KafkaMessage {
    fn number(&self) -> u32 {
        let text = ackonce::adapter::Identify::key(self).and_then(|key| std::str::from_utf8(key).ok());
        text.and_then(|id| id.parse().ok()).unwrap_or(u32::MAX)
    }

    fn lane(&self) -> Option<(usize, usize)> {
        let at = usize::try_from(self.offset() / GAP).ok()?;
        Some((usize::try_from(self.partition()).ok()?, at))
    }
}

#[test]
fn nothing_is_lost_doubled_or_stuck_and_no_commit_passes_a_hole() {
    explore("cargo test -p ackonce-kafka --lib simulated::nothing", 700, run);
}

#[test]
fn a_seed_replays() {
    repeats(40, run);
}

#[test]
fn each_planted_mistake_is_found() {
    for bug in [
        Bug::LeaseIgnored,
        Bug::FenceReused,
        Bug::RenewalLost,
        Bug::RecordForgotten,
        Bug::CompletionLost,
        Bug::AckedDelivered,
        Bug::AckedUnsettled,
        Bug::NotAskedAgain,
        Bug::NoLimit,
    ] {
        let found = finds(bug, 300, run);
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
