//! The protocol explored to the end, and the bugs that the exploration finds.
#![allow(clippy::panic, reason = "a test that cannot go on should panic")]

use ackonce_model::{Broken, Bug, Protocol, stuck};
use stateright::{Checker, Model};

/// Every situation is explored, no promise is broken in any of them, and each has a way to the end.
fn holds(model: Protocol) {
    let found = stuck(&model);
    println!("{model:?}: {} situations", found.reachable);
    if let Some((way, state)) = found.example {
        panic!("stuck after {way:#?}\n{state:#?}");
    }
    let checker = model.checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done());
    checker.assert_properties();
}

/// The first promise that a bug breaks.
fn breaks(model: Protocol) -> Option<Broken> {
    let checker = model.checker().spawn_bfs().join();
    let path = checker.discovery("no promise is broken")?;
    println!("{} steps: {:?}", path.clone().into_actions().len(), path.clone().into_actions());
    path.last_state().broken
}

fn with(bug: Bug) -> Protocol {
    Protocol { bug: Some(bug), ..Protocol::new(2, 1) }
}

#[test]
fn two_workers_and_a_message_lose_nothing_and_are_never_stuck() {
    holds(Protocol::new(2, 1));
}

#[test]
fn three_workers_meet_over_a_message() {
    holds(Protocol::new(3, 1));
}

#[test]
fn two_workers_and_two_messages_with_two_crashes_and_a_lost_reply() {
    holds(Protocol { delays: 0, ..Protocol::new(2, 2) });
}

#[test]
fn a_window_ends_and_its_record_is_swept() {
    holds(Protocol { window: Some(2), crashes: 1, delays: 0, ..Protocol::new(2, 1) });
}

#[test]
fn fences_grow_after_the_clock_was_set_back() {
    holds(Protocol { clock_was_set_back: true, ..Protocol::new(2, 1) });
}

#[test]
fn each_planted_bug_breaks_a_promise() {
    for (bug, broken) in [
        (Bug::LeaseIgnored, Broken::GrantedTwice),
        (Bug::BackoffIgnored, Broken::GrantedTwice),
        (Bug::FenceReused, Broken::FenceReused),
        (Bug::SettledByAnybody, Broken::StepByOldClaim),
        (Bug::HiddenEffect, Broken::EffectHidden),
        (Bug::ProgressDropped, Broken::StepForgotten),
        (Bug::BusyAcked, Broken::Lost),
        (Bug::RecordedFirst, Broken::Lost),
        (Bug::SweptEarly, Broken::RanAfterSettled),
    ] {
        assert_eq!(breaks(with(bug)), Some(broken), "{bug:?}");
    }
}

#[test]
fn each_planted_standstill_is_found() {
    for bug in [Bug::EndlessLease, Bug::NeverAsksAgain] {
        assert!(stuck(&with(bug)).example.is_some(), "{bug:?}");
    }
}
