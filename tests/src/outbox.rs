//! The outbox under kill -9: a consumer with inbox and outbox, relays, and a second consumer, over one broker with outages.
//!
//! The feed publishes numbered messages of some keys. For each, the first consumer books an order and publishes an event, in
//! one transaction; the second consumer books the event. It gets events from the broker, or is a service that they are posted
//! to. All processes are killed and paused, at random and at named points.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce_amqp::AmqpPublisher;
use ackonce_amqp::lapin::BasicProperties;
use ackonce_kafka::KafkaPublisher;
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_sqlite::rusqlite;
use ackonce_testkit::crash::{Faults, Fleet, History};

use crate::acceptance::Place;
use crate::amqp::{Kind, Rabbit};
use crate::books::Books;
use crate::kafka::Kafka;
use crate::worker::binary;

/// The places where a worker kills itself: around the publication in the first consumer's transaction, around the relay's
/// publication at the broker, and in the second consumer's transaction.
pub const POINTS: [&str; 6] =
    ["before-publish", "after-publish", "before-send", "after-send", "before-effect", "after-effect"];
/// The keys of the feed.
const KEYS: usize = 12;
/// The most messages that are on their way, so that there is work for each kill, and not much of it after the last one.
const BACKLOG: usize = 200;
/// The processes: a consumer, two relays, a second consumer.
const ROLES: [Role; 4] = [Role::Orders, Role::Relay, Role::Relay, Role::Events];
/// From one outage to the next.
const OUTAGE_EVERY: Duration = Duration::from_secs(10);

/// The part of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum Role {
    Orders,
    Relay,
    Events,
}

/// The task of a worker.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Plan {
    pub place: Place,
    /// The database of the first consumer and the outbox.
    pub books: Books,
    /// The database of the second consumer.
    pub events_db: PathBuf,
    pub orders: String,
    pub events: String,
    /// The address of the second consumer, if it is a service: then `events` is its path.
    pub service: Option<String>,
    pub role: Role,
}

/// A broker that a test takes down.
#[derive(Debug)]
pub enum TestBroker {
    /// Kafka.
    Kafka(Kafka),
    /// RabbitMQ, with classic queues.
    Rabbit(Rabbit),
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Kills and pauses.
    pub history: History,
    /// Outages of the broker.
    pub outages: usize,
    /// Messages of the feed.
    pub published: usize,
    /// The orders that were booked: a message ID each.
    pub orders: Vec<String>,
    /// The events in the order of their effects: key and number.
    pub events: Vec<(String, usize)>,
}

impl TestBroker {
    fn place(&self) -> Place {
        match self {
            Self::Kafka(kafka) => Place::Kafka(kafka.brokers().to_owned()),
            Self::Rabbit(rabbit) => Place::Amqp(rabbit.url().to_owned()),
        }
    }

    async fn create(&self, stem: &str) -> String {
        match self {
            Self::Kafka(kafka) => {
                let name = kafka.name(stem);
                kafka.create(&name, 4).await;
                name
            }
            Self::Rabbit(rabbit) => rabbit.queue(stem, Kind::Classic).await,
        }
    }

    /// Without a wait on this task: the fleet has to resume a worker that is paused with the lock of its file.
    async fn outage(&self, n: usize) {
        let (down, up, time) =
            if n.is_multiple_of(2) { ("kill", "start", 1000) } else { ("pause", "resume", 3000) };
        let server = match self {
            Self::Kafka(_) => "kafka",
            Self::Rabbit(_) => "rabbitmq",
        };
        control(down, server).await;
        tokio::time::sleep(Duration::from_millis(time)).await;
        control(up, server).await;
    }
}

async fn control(what: &'static str, server: &'static str) {
    let servers = std::env::var_os("ACKONCE_SERVERS").expect("started by scripts/servers");
    let done = tokio::task::spawn_blocking(move || Command::new(servers).args([what, server]).status());
    assert!(done.await.unwrap().unwrap().success(), "{what} {server}");
}

/// Publishes each message until it is confirmed.
enum Feed {
    Kafka(KafkaPublisher),
    Rabbit(AmqpPublisher),
}

impl Feed {
    fn new(broker: &TestBroker) -> Self {
        match broker {
            TestBroker::Kafka(kafka) => Self::Kafka(KafkaPublisher::new(kafka.config(), "feed").unwrap()),
            TestBroker::Rabbit(rabbit) => Self::Rabbit(AmqpPublisher::new(rabbit.url(), "feed").unwrap()),
        }
    }

    /// A message again is a duplicate: it has the same ID.
    async fn publish(&self, to: &str, key: &str, n: usize) {
        let text = format!("{key}:{n:06}");
        loop {
            let sent = match self {
                Self::Kafka(publisher) => {
                    let id = Header { key: "message-id", value: Some(&text) };
                    let headers = OwnedHeaders::new().insert(id);
                    publisher.send(to, Some(key.as_bytes()), Some(text.as_bytes()), headers).await.is_ok()
                }
                Self::Rabbit(publisher) => {
                    let properties = BasicProperties::default()
                        .with_delivery_mode(2)
                        .with_message_id(text.as_str().into());
                    publisher.publish("", to, properties, text.clone().into()).await.is_ok()
                }
            };
            if sent {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The way from the outbox to the second consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the broker.
    Broker,
    /// By POST.
    Http,
}

/// Runs until `kills` processes were killed or paused and everything is through.
pub async fn run(broker: TestBroker, books: Books, way: Way, kills: usize, seed: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan {
        place: broker.place(),
        events_db: dir.path().join("events.db"),
        orders: broker.create("outbox-orders").await,
        events: match way {
            Way::Broker => broker.create("outbox-events").await,
            Way::Http => "events/placed".to_owned(),
        },
        service: (way == Way::Http).then(free_address),
        role: Role::Orders,
        books: books.clone(),
    };
    books.create().await;
    create_events(&plan.events_db);
    let enough = AtomicBool::new(false);
    let feeding = async {
        let feed = Feed::new(&broker);
        let mut n = 0;
        while !enough.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if n * KEYS > events(&plan.events_db).len() + BACKLOG {
                continue;
            }
            let keys: Vec<_> = (0..KEYS).map(|key| format!("k{key}")).collect();
            let each = keys.iter().map(|key| async {
                for next in n..n + 4 {
                    feed.publish(&plan.orders, key, next).await;
                }
            });
            futures_util::future::join_all(each).await;
            n += 4;
        }
        n
    };
    let suffering = async {
        let mut outages = 0;
        loop {
            tokio::time::sleep(OUTAGE_EVERY).await;
            if enough.load(Ordering::SeqCst) {
                return outages;
            }
            broker.outage(outages).await;
            outages += 1;
        }
    };
    let published = std::sync::Mutex::new(None);
    let fleet = fleet(&plan, dir.path(), kills, seed);
    let running = async {
        let running = fleet.run(async |progress| {
            if progress.kills + progress.crashes + progress.pauses >= kills {
                enough.store(true, Ordering::SeqCst);
            }
            let published = *published.lock().unwrap();
            published.is_some_and(|n: usize| events(&plan.events_db).len() >= n * KEYS)
        });
        // Here, since those beside it would go on.
        running.await.unwrap_or_else(|e| panic!("{e}"))
    };
    let feeding = async {
        let n = feeding.await;
        *published.lock().unwrap() = Some(n);
        n
    };
    let (history, n, outages) = tokio::join!(running, feeding, suffering);
    let (orders, _) = books.read().await;
    let orders = orders.into_iter().map(|entry| entry.id).collect();
    Outcome { history, outages, published: n * KEYS, orders, events: events(&plan.events_db) }
}

impl Outcome {
    /// Panics unless every message took effect once in both databases, and events in order per key.
    pub fn assert_once_and_in_order(&self) {
        let mut orders = self.orders.clone();
        orders.sort();
        orders.dedup();
        assert_eq!((orders.len(), self.orders.len()), (self.published, self.published), "orders");
        let mut next: HashMap<&str, usize> = HashMap::new();
        for (key, n) in &self.events {
            let expected = next.entry(key).or_default();
            assert_eq!(n, expected, "the event of {key}");
            *expected += 1;
        }
        assert_eq!(self.events.len(), self.published, "events");
    }
}

fn fleet(plan: &Plan, dir: &Path, kills: usize, seed: u64) -> Fleet {
    let plan = plan.clone();
    let faults = Faults {
        kill_every: Some(Duration::from_millis(400)..=Duration::from_millis(1200)),
        pause_every: Some(Duration::from_secs(5)..=Duration::from_secs(9)),
        // Longer than the lease.
        pause_for: Duration::from_millis(2300)..=Duration::from_millis(3500),
        crash_points: POINTS.map(str::to_owned).to_vec(),
        // Few, so that a slow machine reaches them between two kills.
        nth: 1..=10,
        restart_after: Duration::ZERO..=Duration::from_millis(50),
        at_most: Some(kills),
        ..Faults::default()
    };
    let command = move |worker: usize| {
        let mut command = Command::new(binary("e2e-outbox-worker"));
        command.arg(serde_json::to_string(&Plan { role: ROLES[worker], ..plan.clone() }).unwrap());
        command
    };
    Fleet::new(dir.join("workers"), ROLES.len(), command)
        .with_seed(seed)
        .with_faults(faults)
        .with_bound(Duration::from_secs(120 + 4 * kills as u64))
        .with_grace(Duration::from_secs(30))
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn create_events(db: &Path) {
    drop(ackonce_sqlite::SqliteStore::open(db).unwrap());
    let conn = rusqlite::Connection::open(db).unwrap();
    let tables = "CREATE TABLE event (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, number INTEGER NOT NULL);
                  CREATE TABLE operation (idempotency_key TEXT PRIMARY KEY)";
    conn.execute_batch(tables).unwrap();
}

/// The events in the order of their effects.
fn events(db: &Path) -> Vec<(String, usize)> {
    let conn = rusqlite::Connection::open(db).unwrap();
    let mut rows = conn.prepare("SELECT key, number FROM event ORDER BY n").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).unwrap();
    rows.map(|row| row.map(|(key, n)| (key, usize::try_from(n).unwrap())).unwrap()).collect()
}
