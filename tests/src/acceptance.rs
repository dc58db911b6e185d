//! The acceptance run: one topic, three killed and paused consumers, an audit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce_testkit::audit::{Audit, audit};
use ackonce_testkit::crash::{Faults, Fleet, History};
use ackonce_testkit::ledger::{Entry, Ledger};

use crate::books::Books;
use crate::kafka::{Kafka, publish};
use crate::worker::binary;

const PARTITIONS: i32 = 6;
/// Slices that the messages are published in, a second apart, so that there is work while workers are killed.
const SLICES: usize = 60;

/// What a worker is told.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Plan {
    pub brokers: String,
    pub topic: String,
    pub group: String,
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

/// What one run showed.
#[derive(Debug)]
pub struct Outcome {
    /// Published against effects.
    pub audit: Audit,
    /// Kills and pauses.
    pub history: History,
    /// For the inbox: what the account holds.
    pub balance: Option<u64>,
}

/// Runs `messages` deliveries, one in five a repeat, through three workers of `mode` until `kills` of them were
/// killed and everything is consumed.
pub async fn run(kafka: &Kafka, mode: &str, messages: usize, kills: usize, seed: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka.name(mode);
    kafka.create(&topic, PARTITIONS).await;
    let plan = Plan {
        brokers: kafka.brokers().to_owned(),
        group: format!("{topic}-group"),
        topic,
        mode: mode.to_owned(),
        db: dir.path().join("dedup.db"),
        ledger: dir.path().join("ledger.jsonl"),
    };
    let inbox = (mode == "inbox").then(|| Books::Sqlite(plan.db.clone()));
    if let Some(books) = &inbox {
        books.create().await;
    }
    let published = Arc::new(AtomicBool::new(false));
    let publisher = publish_slowly(&plan, messages, published.clone());
    let faults = Faults {
        kill_every: Some(Duration::from_secs(1)..=Duration::from_secs(3)),
        pause_every: Some(Duration::from_secs(8)..=Duration::from_secs(14)),
        pause_for: Duration::from_secs(2)..=Duration::from_secs(4),
        ..Faults::default()
    };
    let json = serde_json::to_string(&plan).unwrap();
    let fleet = Fleet::new(dir.path().join("workers"), 3, move |_| {
        let mut command = Command::new(binary("e2e-acceptance-worker"));
        command.arg(&json);
        command
    });
    let fleet = fleet.with_seed(seed).with_faults(faults).with_bound(Duration::from_secs(600));
    let all = i64::try_from(messages).unwrap();
    let history = fleet
        .run(|progress| {
            let enough = progress.kills >= kills && published.load(Ordering::SeqCst);
            let through =
                || (0..PARTITIONS).filter_map(|p| kafka.committed(&plan.group, &plan.topic, p)).sum::<i64>();
            std::future::ready(enough && through() == all)
        })
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let deliveries = publisher.join().unwrap();
    let (entries, balance) = effects(&plan, inbox).await;
    Outcome { audit: audit(&deliveries, &entries, &history), history, balance }
}

/// Publishes in the background; returns each ID with how often.
fn publish_slowly(
    plan: &Plan,
    messages: usize,
    done: Arc<AtomicBool>,
) -> std::thread::JoinHandle<BTreeMap<String, u64>> {
    let (brokers, topic) = (plan.brokers.clone(), plan.topic.clone());
    std::thread::spawn(move || {
        let mut published = BTreeMap::new();
        let ids: Vec<_> = (0..messages).map(id_of_delivery).collect();
        for slice in ids.chunks(messages.div_ceil(SLICES)) {
            let records = slice.iter().enumerate().map(|(n, id)| {
                let partition = i32::try_from(n).unwrap() % PARTITIONS;
                (partition, id.as_str(), Some(id.as_str()), "{}")
            });
            publish(&brokers, &topic, records);
            for id in slice {
                *published.entry(id.clone()).or_default() += 1;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        done.store(true, Ordering::SeqCst);
        published
    })
}

/// The ID of the n-th delivery; every fifth repeats one from up to a few thousand before.
pub(crate) fn id_of_delivery(n: usize) -> String {
    match n % 5 {
        4 => format!("m{}", n - n / 5 - 1 - (n * 7919) % (n.min(4000) / 5 * 4).max(1)),
        _ => format!("m{}", n - n / 5),
    }
}

async fn effects(plan: &Plan, inbox: Option<Books>) -> (Vec<Entry>, Option<u64>) {
    if let Some(books) = inbox {
        let (entries, balance) = books.read().await;
        return (entries, Some(balance));
    }
    let contents = Ledger::read(&plan.ledger).unwrap();
    assert_eq!(contents.torn, 0);
    (contents.entries, None)
}
