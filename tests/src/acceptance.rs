//! The acceptance run: one topic or queue, three killed and paused consumers, a broker that goes away, an audit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::Class;
use ackonce_sqlite::rusqlite;
use ackonce_testkit::audit::{Audit, audit};
use ackonce_testkit::crash::{Faults, Fleet, History};
use ackonce_testkit::ledger::{Ledger, LedgerEntry};

use crate::books::Books;
use crate::said::not_recorded;
use crate::worker::binary;

/// From one outage of the broker to the next.
const OUTAGE_EVERY: Duration = Duration::from_secs(4);

/// The source of the messages.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Place {
    /// Bootstrap servers; the group's name is the topic's and `-group`.
    Kafka(String),
    /// A URL.
    Amqp(String),
}

/// The task of a worker.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Plan {
    pub place: Place,
    /// The topic or queue.
    pub name: String,
    pub mode: String,
    pub db: PathBuf,
    pub ledger: PathBuf,
}

impl Plan {
    /// As it was handed over.
    ///
    /// # Errors
    /// It is not such a plan.
    pub fn from_json(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }
}

/// A broker, as a run needs it.
#[allow(async_fn_in_trait, reason = "nobody spawns these")]
pub trait Broker {
    /// Its address.
    fn place(&self) -> Place;

    /// Creates a topic or queue with a name of its own.
    async fn create(&self, stem: &str) -> String;

    /// Publishes these IDs, all confirmed; an outage may publish some of them again.
    async fn publish(&self, name: &str, ids: &[String]);

    /// True if all `messages` are consumed and acknowledged.
    async fn is_through(&self, name: &str, messages: usize) -> bool;

    /// The `n`-th outage, from its beginning to its end.
    async fn outage(&self, n: usize);
}

/// The sizes of a run.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Deliveries published; one in five repeats another.
    pub messages: usize,
    /// Slices they are published in, a second apart, so that there is work while workers are killed.
    pub slices: usize,
    /// Workers killed, at least.
    pub kills: usize,
    /// Outages of the broker.
    pub outages: usize,
}

/// The result of one run.
#[derive(Debug)]
pub struct Outcome {
    /// Published against effects.
    pub audit: Audit,
    /// Kills and pauses.
    pub history: History,
    /// For the inbox: the balance of the account.
    pub balance: Option<u64>,
}

/// Runs `scale.messages` deliveries through three workers of `mode` until enough of them were killed, one was paused,
/// the broker had its outages, and everything is consumed.
pub async fn run<B: Broker>(broker: &B, mode: &str, scale: Scale, seed: u64) -> Outcome {
    let Scale { kills, outages, messages, .. } = scale;
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan {
        place: broker.place(),
        name: broker.create(mode).await,
        mode: mode.to_owned(),
        db: dir.path().join("dedup.db"),
        ledger: dir.path().join("ledger.jsonl"),
    };
    let inbox = (mode == "inbox").then(|| Books::Sqlite(plan.db.clone()));
    if let Some(books) = &inbox {
        books.create().await;
    }
    if mode.contains("-then-") {
        create_seen(&plan.db);
    }
    let (published, suffered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let publishing = async {
        let deliveries = publish_slowly(broker, &plan.name, scale).await;
        published.store(true, Ordering::SeqCst);
        deliveries
    };
    let suffering = async {
        for n in 0..outages {
            tokio::time::sleep(OUTAGE_EVERY).await;
            broker.outage(n).await;
            suffered.fetch_add(1, Ordering::SeqCst);
        }
    };
    let fleet = fleet(&plan, dir.path(), seed);
    let running = async {
        let history = fleet.run(async |progress| {
            let enough = progress.kills >= kills && progress.pauses > 0 && published.load(Ordering::SeqCst);
            let enough = enough && suffered.load(Ordering::SeqCst) == outages;
            enough && broker.is_through(&plan.name, messages).await
        });
        history.await.unwrap_or_else(|e| panic!("{e}"))
    };
    let (history, deliveries, ()) = tokio::join!(running, publishing, suffering);
    let (entries, balance) = effects(&plan, inbox, history.kills()).await;
    let mut audit = audit(&deliveries, &entries, &history);
    let said = not_recorded(dir.path()).unwrap();
    audit.explain(&entries, |effect| said.contains(&(effect.id.clone(), effect.fence)));
    show_unexplained(&audit, &entries, &history);
    Outcome { audit, history, balance }
}

/// The table of the loops by hand. Before its workers start: three that switch a new file to WAL at once get in each
/// other's way, with any busy time-out.
fn create_seen(db: &Path) {
    let db = rusqlite::Connection::open(db).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE seen (id TEXT PRIMARY KEY)").unwrap();
}

fn fleet(plan: &Plan, dir: &Path, seed: u64) -> Fleet {
    let faults = Faults {
        kill_every: Some(Duration::from_secs(1)..=Duration::from_secs(3)),
        pause_every: Some(Duration::from_secs(8)..=Duration::from_secs(14)),
        pause_for: Duration::from_secs(2)..=Duration::from_secs(4),
        ..Faults::default()
    };
    let json = serde_json::to_string(plan).unwrap();
    let fleet = Fleet::new(dir.join("workers"), 3, move |_| {
        let mut command = Command::new(binary("e2e-acceptance-worker"));
        // The end of its log is shown when it fails: it should say why.
        command.arg(&json).env("RUST_LIB_BACKTRACE", "0");
        command
    });
    fleet.with_seed(seed).with_faults(faults).with_bound(Duration::from_secs(600))
}

/// The evidence for a failure.
fn show_unexplained(audit: &Audit, entries: &[LedgerEntry], history: &History) {
    for doubled in audit.doubled.iter().filter(|d| !d.explained()) {
        let effects: Vec<_> = entries.iter().filter(|e| e.id == doubled.id).collect();
        let (from, to) = (effects[0].fence, effects[effects.len() - 1].at);
        let near = history.events.iter().filter(|e| e.to + 5_000_000 > from && e.from < to + 5_000_000);
        eprintln!("not explained: {effects:#?}\n{:#?}", near.collect::<Vec<_>>());
    }
}

/// Returns each ID with how often it was to be published.
async fn publish_slowly<B: Broker>(broker: &B, name: &str, scale: Scale) -> BTreeMap<String, u64> {
    let mut published = BTreeMap::new();
    let ids: Vec<_> = (0..scale.messages).map(id_of_delivery).collect();
    for slice in ids.chunks(scale.messages.div_ceil(scale.slices)) {
        broker.publish(name, slice).await;
        for id in slice {
            *published.entry(id.clone()).or_default() += 1;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    published
}

/// The ID of the n-th delivery; every fifth repeats one from up to a few thousand before.
#[must_use]
pub fn id_of_delivery(n: usize) -> String {
    match n % 5 {
        4 => format!("m{}", n - n / 5 - 1 - (n * 7919) % (n.min(4000) / 5 * 4).max(1)),
        _ => format!("m{}", n - n / 5),
    }
}

async fn effects(plan: &Plan, inbox: Option<Books>, kills: usize) -> (Vec<LedgerEntry>, Option<u64>) {
    if let Some(books) = inbox {
        let (entries, balance) = books.read().await;
        return (entries, Some(balance));
    }
    // An entry that its worker was killed in the middle of is an effect that did not happen.
    let contents = Ledger::read(&plan.ledger).unwrap();
    assert!(contents.torn <= kills, "{} torn entries after {kills} kills", contents.torn);
    (contents.entries, None)
}

/// One run whose class must keep its promise.
///
/// # Panics
/// It does not: something is lost, or doubled beyond the class's promise.
pub async fn accept<B: Broker>(broker: &B, class: Class, scale: Scale, seed: u64) {
    let Outcome { audit, history, balance } = run(broker, class.as_str(), scale, seed).await;
    let (kills, pauses, outages) = (history.kills(), history.pauses(), scale.outages);
    println!("{class}: {audit}; {kills} kills, {pauses} pauses, {outages} outages");
    assert_eq!(audit.published, scale.messages as u64);
    assert!(kills >= scale.kills && pauses > 0);
    audit.keeps(class).unwrap();
    assert!(audit.shared_keys.is_empty(), "{audit:?}");
    if class == Class::Inbox {
        assert_eq!(balance, Some(audit.unique), "the balance adds up");
    }
}

/// A number from the environment, or that one.
pub fn scaled(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}
