//! Consumers on a simulated queue: the runner and the ack tracker are the real ones; channels and their ends are played by
//! [`channel`].
//!
//! A seed that fails names the command that replays it. `ACKONCE_SEEDS=100000` makes a long run.

mod channel;
mod queue;

use std::sync::Arc;

use ackonce_sim::{Bug, Plan, Ran, explore, finds, repeats, simulate};

use self::queue::SimulatedQueue;

fn run(plan: Plan, is_kept: bool) -> Ran {
    simulate(plan, is_kept, |world| Arc::new(SimulatedQueue::new(world.clone())))
}

#[test]
fn nothing_is_lost_doubled_or_stuck_and_no_ack_takes_an_unsettled_tag() {
    explore("cargo test -p ackonce-amqp --lib simulated::nothing", 700, run);
}

#[test]
fn a_seed_replays() {
    repeats(40, run);
}

#[test]
fn each_planted_mistake_is_found() {
    for bug in [
        Bug::LeaseIgnored,
        Bug::RenewalLost,
        Bug::CompletionLost,
        Bug::AckedDelivered,
        Bug::AckedUnsettled,
        Bug::NotAskedAgain,
        Bug::TagCrosses,
    ] {
        let found = finds(bug, 300, run);
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
