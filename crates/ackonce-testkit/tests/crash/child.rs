//! The fleet's worker: this test binary again, told by its environment to be a worker.
//!
//! It goes through the IDs that are its own, and records finished ones in a file. No store is involved:
//! the harness is under test.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_testkit::lines;

use super::WORKERS;

pub(crate) const TEST: &str = "a_point_without_a_plan_does_nothing";
pub(crate) const HOME: &str = "TESTKIT_CHILD_HOME";
pub(crate) const MODE: &str = "TESTKIT_CHILD_MODE";
pub(crate) const WORKER: &str = "TESTKIT_CHILD_WORKER";
pub(crate) const IDS: u64 = 300;

pub(crate) struct Child {
    home: PathBuf,
    mode: String,
    worker: usize,
}

/// The IDs that this worker has marked as done, and a last line once it is through.
fn marks(home: &Path, worker: usize) -> PathBuf {
    home.join(format!("done-{worker}"))
}

pub(crate) fn ran_through(home: &Path, worker: usize) -> bool {
    lines::read(marks(home, worker)).unwrap().last().is_some_and(|line| line == "all")
}

impl Child {
    pub(crate) fn from_env() -> Option<Self> {
        let home = std::env::var_os(HOME)?.into();
        let (mode, worker) = (std::env::var(MODE).unwrap(), std::env::var(WORKER).unwrap());
        Some(Self { home, mode, worker: worker.parse().unwrap() })
    }

    pub(crate) fn run(self) {
        match self.mode.as_str() {
            "failing" => panic!("this worker was made to fail"),
            "idle" => {}
            _ => self.work(),
        }
        // Until the fleet ends it.
        loop {
            sleep(Duration::from_secs(1));
        }
    }

    fn work(&self) {
        let ledger = Ledger::open(self.home.join("ledger")).unwrap();
        let path = marks(&self.home, self.worker);
        let done: HashSet<String> = lines::read(&path).unwrap().into_iter().collect();
        let marks = lines::Writer::open(&path).unwrap();
        let mark = |id: &str| marks.append(id).unwrap();
        let mine = (0..IDS).filter(|n| usize::try_from(*n).unwrap() % WORKERS == self.worker);
        for id in mine.map(|n| n.to_string()).filter(|id| !done.contains(id)) {
            if self.mode == "mark-first" {
                mark(&id);
            }
            point("before-effect");
            ledger.append(&entry(&id)).unwrap();
            if self.mode == "forgetful" {
                sleep(Duration::from_millis(1));
                ledger.append(&entry(&id)).unwrap();
            }
            point("after-effect");
            if self.mode != "mark-first" {
                mark(&id);
            }
            sleep(Duration::from_millis(1));
        }
        mark("all");
    }
}

fn entry(id: &str) -> LedgerEntry {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_micros()).unwrap();
    LedgerEntry {
        id: id.into(),
        key: format!("key of {id}"),
        attempt: 1,
        fence: now,
        pid: std::process::id(),
        at: now,
    }
}
