//! The inbox under kill -9, without a broker: a feed that redelivers every unacknowledged message.
//!
//! The feed is a file that grows; each worker is responsible for every n-th line of it, and acknowledges a line
//! by appending its number to a file of its own. The unacknowledged messages of a killed worker go to its successor
//! again. One line in five repeats an earlier ID, so that workers meet over a message.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ackonce_testkit::audit::audit;
use ackonce_testkit::crash::{Faults, Fleet, Progress};
use ackonce_testkit::lines;

use crate::acceptance::{Outcome, id_of_delivery};
use crate::books::Books;
use crate::feed::Share;
use crate::said::not_recorded;
use crate::worker::binary;

/// The places where a worker kills itself: twice in the transaction, and once after its commit.
pub const POINTS: [&str; 3] = ["before-effect", "after-effect", "before-ack"];
const WORKERS: usize = 3;
/// Lines that the feed grows by, each time that the fleet is looked at, as long as there are kills to come.
const SLICE: usize = 20;
/// Lines that wait at most, so that a busy machine has no more to do after the last kill.
const MOST_OPEN: usize = 400;

/// The task of a worker.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Plan {
    pub books: Books,
    pub dir: PathBuf,
    pub worker: usize,
}

impl Plan {
    /// The deliveries: an ID a line.
    pub fn feed(&self) -> PathBuf {
        self.dir.join("feed")
    }

    /// The lines of this worker.
    pub fn share(&self) -> Share {
        Share { feed: self.feed(), acks: self.acks(), worker: self.worker, workers: WORKERS }
    }

    /// The numbers of the lines that this worker has acknowledged.
    pub fn acks(&self) -> PathBuf {
        acks(&self.dir, self.worker)
    }
}

fn acks(dir: &Path, worker: usize) -> PathBuf {
    dir.join(format!("acks-{worker}"))
}

/// Kills workers until it is `kills` times, then waits until every delivery is acknowledged.
pub async fn run(books: Books, kills: usize, every: Duration, seed: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    books.create().await;
    let plan = Plan { books: books.clone(), dir: dir.path().to_owned(), worker: 0 };
    let mut feed = File::create(plan.feed()).unwrap();
    let faults = Faults {
        kill_every: Some(every / 2..=every * 3 / 2),
        crash_points: POINTS.map(str::to_owned).to_vec(),
        nth: 1..=30,
        restart_after: Duration::ZERO..=Duration::from_millis(5),
        at_most: Some(kills),
        ..Faults::default()
    };
    let fleet = Fleet::new(dir.path().join("workers"), WORKERS, move |worker| {
        let mut command = Command::new(binary("e2e-inbox-worker"));
        command.arg(serde_json::to_string(&Plan { worker, ..plan.clone() }).unwrap());
        command
    });
    let mut published = BTreeMap::new();
    let mut lines = 0;
    let history = fleet
        .with_seed(seed)
        .with_faults(faults)
        .with_bound(Duration::from_secs(900))
        .run(|Progress { kills: random, crashes, .. }| {
            let enough = random + crashes >= kills;
            let acknowledged = acknowledged(dir.path());
            if !enough && lines - acknowledged < MOST_OPEN {
                let ids: Vec<_> = (lines..lines + SLICE).map(id_of_delivery).collect();
                feed.write_all((ids.join("\n") + "\n").as_bytes()).unwrap();
                lines += SLICE;
                for id in ids {
                    *published.entry(id).or_default() += 1;
                }
            }
            std::future::ready(enough && acknowledged == lines)
        })
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let (entries, balance) = books.read().await;
    let mut audit = audit(&published, &entries, &history);
    // The lease is a few seconds: on a busy machine a worker can be late without a fault of ours, and then it says so.
    let said = not_recorded(dir.path()).unwrap();
    audit.explain(&entries, |effect| said.contains(&(effect.id.clone(), effect.fence)));
    Outcome { audit, history, balance: Some(balance) }
}

fn acknowledged(dir: &Path) -> usize {
    let of = |worker| lines::read(acks(dir, worker)).unwrap().len();
    (0..WORKERS).map(of).sum()
}
