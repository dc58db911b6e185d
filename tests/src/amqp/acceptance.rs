//! The acceptance run: one queue, three killed and paused consumers, a broker that closes connections and is
//! restarted, an audit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ackonce_sqlite::{SqliteStore, rusqlite};
use ackonce_testkit::audit::{Audit, audit};
use ackonce_testkit::crash::{Faults, Fleet, History};
use ackonce_testkit::ledger::{Entry, Ledger, Reader};

use super::worker::Plan;
use super::{Kind, Rabbit};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Deliveries published; one in five repeats another.
    pub messages: usize,
    /// Workers killed, at least.
    pub kills: usize,
    /// Outages of the broker: all connections closed, killed and started again, in turn.
    pub outages: usize,
}

/// What one run showed.
#[derive(Debug)]
pub struct Outcome {
    /// Published against effects.
    pub audit: Audit,
    /// Kills and pauses.
    pub history: History,
    /// Messages that were left in the queue, or in somebody's hands.
    pub left: u32,
}

/// Runs them through three workers of `class` until all have taken effect, whatever happens meanwhile.
pub async fn run(rabbit: &Rabbit, kind: Kind, class: &str, scale: Scale, seed: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let queue = rabbit.queue(class, kind).await;
    let plan = Plan {
        class: class.to_owned(),
        attempts: 5,
        concurrency: 8,
        lease_ms: 1500,
        work_ms: 2,
        ..Plan::new(rabbit, &queue, dir.path())
    };
    prepare(&plan);
    let published = publish(rabbit, &queue, scale.messages).await;
    let faults = Faults {
        kill_every: Some(Duration::from_millis(700)..=Duration::from_secs(2)),
        pause_every: Some(Duration::from_secs(5)..=Duration::from_secs(9)),
        pause_for: Duration::from_secs(2)..=Duration::from_secs(4),
        ..Faults::default()
    };
    let command = plan.clone();
    let fleet = Fleet::new(dir.path().join("workers"), 3, move |_| command.command());
    let fleet = fleet.with_seed(seed).with_faults(faults).with_bound(Duration::from_secs(1500));
    let mut watch = Watch { reader: Reader::new(&plan.ledger), seen: 0, ids: BTreeSet::new() };
    let (suffered, through) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let outages = suffer(rabbit, scale.outages, &suffered, &through);
    let running = async {
        let history = fleet
            .run(|progress| {
                let enough = progress.kills >= scale.kills && progress.pauses > 0;
                let enough = enough && suffered.load(Ordering::SeqCst) >= scale.outages;
                std::future::ready(enough && watch.ids(&plan) == published.len())
            })
            .await;
        through.store(true, Ordering::SeqCst);
        history.unwrap_or_else(|e| panic!("{e}"))
    };
    let (history, ()) = tokio::join!(running, outages);
    let left = drain(rabbit, &plan, dir.path()).await;
    let entries = match plan.class.as_str() {
        "inbox" => rows(&plan).unwrap(),
        _ => Ledger::read(&plan.ledger).unwrap().entries,
    };
    Outcome { audit: audit(&published, &entries, &history), history, left }
}

fn prepare(plan: &Plan) {
    if plan.class == "inbox" {
        drop(SqliteStore::open(&plan.db).unwrap());
        let db = rusqlite::Connection::open(&plan.db).unwrap();
        db.execute_batch(
            "CREATE TABLE ledger (n INTEGER PRIMARY KEY, id TEXT, key TEXT, attempt INTEGER, fence INTEGER,
                                  pid INTEGER, at INTEGER)",
        )
        .unwrap();
    }
}

/// Publishes all, confirmed; returns each ID with how often.
async fn publish(rabbit: &Rabbit, queue: &str, messages: usize) -> BTreeMap<String, u64> {
    // The n-th delivery; every fifth repeats one from up to a few thousand before.
    let id = |n: usize| match n % 5 {
        4 => format!("m{}", n - n / 5 - 1 - (n * 7919) % (n.min(4000) / 5 * 4).max(1)),
        _ => format!("m{}", n - n / 5),
    };
    let ids: Vec<_> = (0..messages).map(id).collect();
    rabbit.connect().await.publish_all(queue, ids.iter().map(|id| (id.as_str(), "ok"))).await;
    let mut published = BTreeMap::new();
    for id in ids {
        *published.entry(id).or_default() += 1;
    }
    published
}

/// Takes the broker down `outages` times, and on until all messages are through.
async fn suffer(rabbit: &Rabbit, outages: usize, suffered: &AtomicUsize, through: &AtomicBool) {
    for n in 0.. {
        tokio::time::sleep(Duration::from_secs(3)).await;
        if through.load(Ordering::SeqCst) || n >= 2 * outages {
            return;
        }
        let rabbit = rabbit.clone();
        let outage = move || match n % 4 {
            2 => {
                rabbit.control("kill");
                rabbit.control("start");
            }
            _ => drop(rabbit.ctl(&["close_all_connections", "an outage"])),
        };
        tokio::task::spawn_blocking(outage).await.unwrap();
        suffered.fetch_add(1, Ordering::SeqCst);
    }
}

/// Lets one worker finish what the others gave back, and answers what is in the queue when it has ended.
async fn drain(rabbit: &Rabbit, plan: &Plan, dir: &std::path::Path) -> u32 {
    let command = plan.clone();
    let fleet = Fleet::new(dir.join("last"), 1, move |_| command.command());
    let left = async || {
        let (rabbit, queue) = (rabbit.clone(), plan.queue.clone());
        tokio::task::spawn_blocking(move || rabbit.messages(&queue)).await.unwrap()
    };
    fleet.run(async |_| left().await == 0).await.unwrap_or_else(|e| panic!("{e}"));
    left().await
}

/// Follows the effects.
struct Watch {
    reader: Reader,
    seen: usize,
    ids: BTreeSet<String>,
}

impl Watch {
    /// Of how many IDs there are effects.
    fn ids(&mut self, plan: &Plan) -> usize {
        if plan.class == "inbox" {
            let count =
                || connect(plan)?.query_row("SELECT count(DISTINCT id) FROM ledger", [], |r| r.get(0));
            return usize::try_from(count().unwrap_or(0_i64)).unwrap();
        }
        let entries = self.reader.catch_up().unwrap();
        self.ids.extend(entries[self.seen..].iter().map(|e| e.id.clone()));
        self.seen = entries.len();
        self.ids.len()
    }
}

fn connect(plan: &Plan) -> rusqlite::Result<rusqlite::Connection> {
    let db = rusqlite::Connection::open(&plan.db)?;
    db.busy_timeout(Duration::from_secs(10))?;
    Ok(db)
}

fn rows(plan: &Plan) -> rusqlite::Result<Vec<Entry>> {
    let db = connect(plan)?;
    let mut rows = db.prepare("SELECT id, key, attempt, fence, pid, at FROM ledger ORDER BY n")?;
    let entries = rows.query_map([], |row| {
        let number = |n| row.get::<_, i64>(n).map(|v| u64::try_from(v).unwrap());
        let (id, key, attempt, pid) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?);
        Ok(Entry { id, key, attempt, fence: number(3)?, pid, at: number(5)? })
    })?;
    entries.collect()
}
