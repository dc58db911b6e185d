//! Real processes, killed and paused: the fleet, the points, the ledger and the audit, together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod child;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ackonce::Class;
use ackonce_testkit::audit::{Audit, Cause, audit};
use ackonce_testkit::crash::{self, EventKind, Faults, Fleet, FleetEvent, History, Progress};
use ackonce_testkit::ledger::Ledger;
use ackonce_testkit::lines;
use tempfile::TempDir;

const WORKERS: usize = 3;

fn millis(from: u64, to: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(from)..=Duration::from_millis(to)
}

fn fleet(dir: &Path, mode: &'static str) -> Fleet {
    let home = dir.to_path_buf();
    Fleet::new(dir, WORKERS, move |worker| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", child::TEST, "--nocapture"]);
        // A backtrace would push the panic's message out of the quoted lines.
        command.env("RUST_BACKTRACE", "0");
        command.env(child::HOME, &home).env(child::MODE, mode).env(child::WORKER, worker.to_string());
        command
    })
}

/// Runs until every ID has an effect and enough faults have struck, then reports the history.
async fn run(
    dir: &Path,
    mode: &'static str,
    faults: Faults,
    enough: fn(Progress) -> bool,
) -> (History, Audit) {
    let fleet = fleet(dir, mode).with_seed(11).with_faults(faults);
    let history = fleet
        .run(|progress| {
            let done = (0..WORKERS).all(|n| child::ran_through(dir, n));
            async move { done && enough(progress) }
        })
        .await
        .unwrap();
    let contents = Ledger::read(dir.join("ledger")).unwrap();
    let ends = history.kills() + history.crashes();
    assert!(contents.torn <= ends, "{} torn entries after {ends} kills", contents.torn);
    let published = (0..child::IDS).map(|n| (n.to_string(), 1)).collect::<BTreeMap<_, _>>();
    let audit = audit(&published, &contents.entries, &history);
    println!("{audit}; {:?}", history.points());
    (history, audit)
}

#[test]
fn a_point_without_a_plan_does_nothing() {
    if let Some(child) = child::Child::from_env() {
        return child.run();
    }
    for _ in 0..100 {
        crash::point("after-effect");
    }
}

#[tokio::test]
async fn without_faults_nothing_is_lost_or_doubled() {
    let dir = TempDir::new().unwrap();
    let (history, audit) = run(dir.path(), "effect-first", Faults::default(), |_| true).await;
    assert_eq!((history.kills(), history.crashes(), history.pauses()), (0, 0, 0));
    assert_eq!(history.count(|kind| *kind == EventKind::Terminated), WORKERS, "{history:?}");
    assert_eq!(audit.effects, child::IDS);
    audit.keeps(Class::Inbox).unwrap();
}

#[tokio::test]
async fn crashes_at_a_named_point_double_and_the_history_explains_each() {
    let dir = TempDir::new().unwrap();
    let faults = Faults {
        crash_points: vec!["before-effect".into(), "after-effect".into()],
        nth: 1..=5,
        restart_after: millis(0, 5),
        at_most: Some(12),
        ..Faults::default()
    };
    let (history, audit) = run(dir.path(), "effect-first", faults, |p| p.crashes >= 12).await;
    let points = history.points();
    assert!(points.contains_key("before-effect") && points.contains_key("after-effect"), "{points:?}");
    let repeats = audit.doubled.iter().map(|d| d.causes.len()).sum::<usize>();
    assert_eq!(repeats, points["after-effect"], "each crash after an effect repeats it, no other does");
    assert!(
        audit.doubled.iter().flat_map(|d| &d.causes).all(|cause| *cause == Some(Cause::Died)),
        "{audit:?}"
    );
    audit.keeps(Class::Leased).unwrap();
    audit.keeps(Class::Keyed).unwrap();
    audit.keeps(Class::Inbox).unwrap_err();
}

#[tokio::test]
async fn kills_at_random_moments_are_recorded_and_survived() {
    let dir = TempDir::new().unwrap();
    let faults = Faults { kill_every: Some(millis(5, 60)), at_most: Some(25), ..Faults::default() };
    let (history, audit) = run(dir.path(), "effect-first", faults, |p| p.kills >= 25).await;
    assert_eq!(history.kills(), 25);
    let starts = history.count(|kind| *kind == EventKind::Started);
    assert!((25..=WORKERS + 25).contains(&starts), "those that were killed last need not be started again");
    assert!(history.events.iter().all(|e| e.from <= e.to && e.pid != 0 && e.worker < WORKERS));
    audit.keeps(Class::Leased).unwrap();
}

#[tokio::test]
async fn pauses_stop_a_worker_and_let_it_go_on() {
    let dir = TempDir::new().unwrap();
    let faults = Faults {
        pause_every: Some(millis(5, 50)),
        pause_for: millis(20, 60),
        pause_points: vec!["after-effect".into()],
        at_most: Some(20),
        ..Faults::default()
    };
    let (history, audit) = run(dir.path(), "effect-first", faults, |p| p.pauses >= 20).await;
    assert_eq!(history.points()["after-effect"], WORKERS, "each start was armed once");
    // Those that stand when the run ends are continued early.
    let whole = |e: &&FleetEvent| matches!(e.kind, EventKind::Paused { .. }) && e.to - e.from >= 20_000;
    assert!(history.events.iter().filter(whole).count() >= 20, "{history:?}");
    audit.keeps(Class::Inbox).unwrap();
}

#[tokio::test]
async fn a_worker_that_marks_first_loses_and_the_audit_finds_it() {
    let dir = TempDir::new().unwrap();
    let faults = Faults {
        crash_points: vec!["before-effect".into()],
        nth: 1..=5,
        at_most: Some(6),
        ..Faults::default()
    };
    let (history, audit) = run(dir.path(), "mark-first", faults, |p| p.crashes >= 6).await;
    assert_eq!(audit.lost.len(), history.crashes());
    assert!(audit.keeps(Class::Leased).unwrap_err().contains("lost"));
    audit.keeps(Class::AtMostOnce).unwrap();
}

#[tokio::test]
async fn a_worker_that_forgets_doubles_and_nothing_explains_it() {
    let dir = TempDir::new().unwrap();
    let (_, audit) = run(dir.path(), "forgetful", Faults::default(), |_| true).await;
    assert_eq!(audit.doubled.len(), usize::try_from(child::IDS).unwrap());
    assert!(audit.keeps(Class::Leased).unwrap_err().contains("without a death or stall"));
}

#[tokio::test]
async fn a_worker_that_fails_by_itself_fails_the_run_and_is_quoted() {
    let dir = TempDir::new().unwrap();
    let error = fleet(dir.path(), "failing").run(|_| async { false }).await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("ended by itself") && shown.contains("this worker was made to fail"), "{shown}");
}

#[tokio::test]
async fn a_condition_that_never_holds_ends_at_the_bound() {
    let dir = TempDir::new().unwrap();
    let bound = Duration::from_millis(300);
    let error = fleet(dir.path(), "idle").with_bound(bound).run(|_| async { false }).await.unwrap_err();
    assert!(error.to_string().contains("did not hold within 300ms"), "{error}");
    assert_eq!(error.history.count(|kind| *kind == EventKind::Started), WORKERS);
}

#[tokio::test]
async fn a_worker_that_ignores_the_end_is_killed() {
    let dir = TempDir::new().unwrap();
    let fleet = Fleet::new(dir.path(), 1, |_| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]);
        command
    });
    let log = dir.path().join("worker-0.log");
    let ready = || lines::read(&log).unwrap().iter().any(|line| line == "ready");
    let grace = Duration::from_millis(200);
    let history = fleet.with_grace(grace).run(|_| async { ready() }).await.unwrap();
    assert_eq!(history.count(|kind| *kind == EventKind::TerminatedByForce), 1, "{history:?}");
}
