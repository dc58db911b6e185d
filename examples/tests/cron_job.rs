//! The scheduled job as its page runs it: several processes, one of them killed in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::schedule::{Every, ScheduledJob, Slot};
use ackonce::store::{AdminOutcome, Inspect, Note, RecordTarget, State};
use ackonce::{CancellationToken, Context, Counts, Failure, Result, Scope};
use ackonce_cli::stores::StoreUrl;
use tokio::task::JoinHandle;

use common::{claimed, ledger, postgres, redis, start, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cron_job");

#[test]
fn killed_in_the_middle_its_slots_run_again_once_and_none_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--every", "1", "--missed", "all", "--lease-ms", "1000", "--look-back", "100"];
    let doomed = start(PROGRAM, directory.path(), &[&args[..], &["--delay-ms", "600000"]].concat());
    wait_until("it is in the middle of two slots", || claimed(directory.path()).len() >= 2);
    doomed.kill();
    let begun = claimed(directory.path());
    assert!(begun.len() >= 2);

    let others: Vec<_> = (0..3).map(|_| start(PROGRAM, directory.path(), &args)).collect();
    wait_until("others run them", || ledger(directory.path()).len() >= begun.len() + 4);
    others.into_iter().for_each(|process| process.end());

    let lines = ledger(directory.path());
    let mut slots: Vec<u64> = lines.iter().map(|line| line.id.parse().unwrap()).collect();
    slots.sort_unstable();
    let first = slots[0];
    let all: Vec<u64> = (0..lines.len() as u64).map(|n| first + n * 1000).collect();
    assert_eq!(slots, all, "each slot once, and none left out");
    for slot in begun {
        let line = lines.iter().find(|line| line.id == slot).unwrap();
        assert_eq!(line.attempt, 2, "begun by one, finished by another");
    }
}

#[test]
fn an_inbox_writes_one_row_per_slot_whatever_the_number_of_processes() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app.db");
    let args = ["--every", "1", "--missed", "all", "--store", "sqlite:app.db", "--class", "inbox"];
    let processes: Vec<_> = (0..2).map(|_| start(PROGRAM, directory.path(), &args)).collect();
    let rows = || ackonce_cli::ledger::sqlite::read(&database, 0).unwrap_or_default();
    wait_until("three slots have run", || rows().len() >= 3);
    processes.into_iter().for_each(|process| process.end());
    let mut slots: Vec<u64> = rows().iter().map(|row| row.id.parse().unwrap()).collect();
    slots.sort_unstable();
    let all: Vec<u64> = (0..slots.len() as u64).map(|n| slots[0] + n * 1000).collect();
    assert_eq!(slots, all, "each slot once, and none left out");
    assert!(!directory.path().join("ledger.jsonl").exists());
}

/// With these flags it starts, runs and ends as asked.
fn starts(flags: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let process = start(PROGRAM, directory.path(), flags);
    let begun = directory.path().join("ledger.jsonl");
    wait_until("it has opened its store and its ledger", || begun.exists());
    std::thread::sleep(Duration::from_millis(300));
    process.end();
}

#[test]
fn it_starts_on_its_own_defaults_whatever_the_length_of_a_slot() {
    for seconds in ["1", "60", "86400", "2592000"] {
        starts(&["--every", seconds]);
    }
    starts(&["--cron", "30 2 * * *", "--zone", "Europe/Berlin"]);
    starts(&["--cron", "@monthly"]);
}

#[test]
fn flags_that_cannot_work_are_refused_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let refused: [(&[&str], &[&str]); 6] = [
        (&["--every", "86400", "--window-s", "3600"], &["--window-s", "1036800s at least"]),
        (&["--every", "0"], &["--every", "10 ms"]),
        (&["--look-back", "10001"], &["--look-back", "10000"]),
        (&["--cron", "0 25 * * *"], &["--cron", "field 2 (hour, at character 3)", "0 to 23"]),
        (&["--cron", "0 2 * * *", "--zone", "Europe/Berln"], &["--zone", "Europe/Berln", "IANA"]),
        (&["--cron", "0 0 30 2 *"], &["--cron", "never matches"]),
    ];
    for (flags, words) in refused {
        let output = Command::new(PROGRAM).args(flags).current_dir(directory.path()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{flags:?}: {text}");
    }
}

#[test]
fn a_cron_expression_runs_at_its_moments() {
    let directory = tempfile::tempdir().unwrap();
    let zones = ["Europe/Berlin", "Asia/Kathmandu", "UTC"];
    let every_other_second = |zone| ["--cron", "*/2 * * * * *", "--zone", zone, "--missed", "all"];
    let processes: Vec<_> =
        zones.iter().map(|zone| start(PROGRAM, directory.path(), &every_other_second(zone))).collect();
    wait_until("three slots have run", || ledger(directory.path()).len() >= 3);
    processes.into_iter().for_each(|process| process.end());
    let slots: Vec<u64> = ledger(directory.path()).iter().map(|line| line.id.parse().unwrap()).collect();
    assert!(slots.iter().all(|slot| slot % 2000 == 0), "{slots:?}");
    let once: BTreeSet<_> = slots.iter().collect();
    assert_eq!(once.len(), slots.len(), "hosts in three zones agree on the moment: {slots:?}");
}

type Running = (CancellationToken, JoinHandle<Result<Counts>>);

/// Hosts of one job on one store, and how often each slot ran.
struct Hosts {
    store: Arc<dyn Inspect>,
    scope: Scope,
    runs: Arc<Mutex<BTreeMap<SystemTime, u32>>>,
}

impl Hosts {
    fn start(&self) -> Running {
        let every = Every::new(Duration::from_millis(100)).unwrap();
        let job = ScheduledJob::new(&self.scope, every, Arc::new(self.store.clone())).with_look_back(1000);
        let (runs, shutdown) = (self.runs.clone(), job.shutdown());
        let handler = move |_: Context, slot: Slot| {
            *runs.lock().unwrap().entry(slot.start).or_default() += 1;
            async { Ok::<(), Failure>(()) }
        };
        (shutdown, tokio::spawn(job.run(handler)))
    }

    async fn until(&self, what: &str, done: impl Fn(&BTreeMap<SystemTime, u32>) -> bool) {
        for _ in 0..600 {
            if done(&self.runs.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within half a minute: {what}");
    }

    /// Those that were not run, of the slots since the first run. A slow machine may skip some after the last run, too.
    async fn skipped(&self) -> Vec<SystemTime> {
        let runs = self.runs.lock().unwrap().clone();
        let (mut slot, last) = (*runs.keys().next().unwrap(), *runs.keys().last().unwrap());
        let mut skipped = Vec::new();
        loop {
            let record = self.store.look(&self.key(slot)).await.unwrap().map(|entry| entry.record);
            if record.is_none() && slot > last {
                return skipped;
            }
            let record = record.unwrap();
            assert_eq!(record.state, State::Done, "{slot:?}");
            let is_skipped = record.outcome.is_some_and(|outcome| outcome.starts_with(b"skipped"));
            assert_eq!(runs.get(&slot), (!is_skipped).then_some(&1), "{slot:?} ran once or was skipped");
            skipped.extend(is_skipped.then_some(slot));
            slot += Duration::from_millis(100);
        }
    }

    fn key(&self, slot: SystemTime) -> ackonce::Key {
        self.scope.key(slot.duration_since(UNIX_EPOCH).unwrap().as_millis().to_string()).unwrap()
    }
}

async fn end(hosts: Vec<Running>) -> u64 {
    let mut skipped = 0;
    for (shutdown, running) in hosts {
        shutdown.cancel();
        let counts = running.await.unwrap().unwrap();
        assert_eq!(counts.buried, 0);
        skipped += counts.skipped;
    }
    skipped
}

/// An outage, a restart of several hosts at once, a slot that is redriven.
async fn skips_once(url: &str) {
    let url: StoreUrl = url.parse().unwrap();
    let store = url.open().await.unwrap().inspect();
    let hosts = Hosts { store, scope: Scope::new("jobs/skips").unwrap(), runs: Arc::default() };
    let mut skipped = 0;
    let running = vec![hosts.start()];
    hosts.until("the first slots run", |runs| runs.len() >= 2).await;
    skipped += end(running).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let before = hosts.runs.lock().unwrap().len();
    let running: Vec<_> = (0..3).map(|_| hosts.start()).collect();
    hosts.until("slots run again", |runs| runs.len() >= before + 4).await;
    skipped += end(running).await;
    let found = hosts.skipped().await;
    assert!(found.len() >= 5, "{found:?}");
    assert_eq!(skipped, found.len() as u64, "{url}: each is counted once");

    let note = Note { actor: "test".into(), reason: "it matters".into() };
    let again = found[2];
    assert_eq!(
        hosts.store.redrive(RecordTarget::Key(&hosts.key(again)), &note).await.unwrap(),
        AdminOutcome::Yes
    );
    let running = vec![hosts.start()];
    hosts.until("the redriven slot runs", |runs| runs.contains_key(&again)).await;
    end(running).await;
    assert_eq!(hosts.store.stats().await.unwrap().buried, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_slots_are_skipped_once_in_memory() {
    skips_once("memory:").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_slots_are_skipped_once_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    skips_once(&format!("sqlite:{}", directory.path().join("skips.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_slots_are_skipped_once_on_redis() {
    let Some(url) = redis("skips") else { return };
    skips_once(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_slots_are_skipped_once_on_postgres() {
    let Some(url) = postgres("skips") else { return };
    skips_once(&url).await;
}
