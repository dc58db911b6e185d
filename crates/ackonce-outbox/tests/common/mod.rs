//! An outbox of a test's own, in a file or in a schema of the server, and a publisher that records.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::{Backoff, CancellationToken, Failure, Result};
use ackonce_outbox::{
    Outbox, OutboxCounts, OutboxMessage, OutboxOptions, OutboxPublisher, Outgoing, PostgresOutbox,
    SqliteOutbox,
};
use ackonce_postgres::tokio_postgres::{self, Client, NoTls};
use ackonce_postgres::{PostgresConfig, PostgresStore, SchemaName, Sweep, Tables};
use ackonce_sqlite::{SqliteStore, rusqlite};
use tokio::task::JoinHandle;

/// An outbox and its database.
pub enum Place {
    Sqlite { dir: tempfile::TempDir, store: SqliteStore, outbox: SqliteOutbox },
    Postgres { url: String, schema: SchemaName, store: PostgresStore, outbox: PostgresOutbox },
}

pub async fn sqlite() -> Option<Place> {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("app.db")).unwrap();
    let outbox = SqliteOutbox::open(&store).await.unwrap();
    Some(Place::Sqlite { dir, store, outbox })
}

pub async fn postgres() -> Option<Place> {
    static N: AtomicU64 = AtomicU64::new(0);
    let url = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES")?;
    let n = N.fetch_add(1, Ordering::Relaxed);
    let schema = SchemaName::new(format!("outbox '{} {n}", std::process::id())).unwrap();
    let config = PostgresConfig::new(&url).unwrap().with_schema(schema.clone());
    let store = config.with_tables(Tables::CreateMissing).with_sweep(Sweep::Manual).connect().await.unwrap();
    let outbox = PostgresOutbox::open(&store).await.unwrap();
    Some(Place::Postgres { url, schema, store, outbox })
}

impl Place {
    pub fn outbox(&self) -> &Outbox {
        match self {
            Self::Sqlite { outbox, .. } => outbox,
            Self::Postgres { outbox, .. } => outbox,
        }
    }

    /// The same database through a store of its own, as another process has it.
    pub async fn again(&self) -> Outbox {
        match self {
            Self::Sqlite { dir, .. } => {
                let store = SqliteStore::open(dir.path().join("app.db")).unwrap();
                Outbox::clone(&SqliteOutbox::open(&store).await.unwrap())
            }
            Self::Postgres { url, schema, .. } => {
                let store =
                    PostgresConfig::new(url).unwrap().with_schema(schema.clone()).connect().await.unwrap();
                Outbox::clone(&PostgresOutbox::open(&store).await.unwrap())
            }
        }
    }

    /// Publishes in one transaction that is committed, and tells nobody.
    pub async fn publish(&self, all: &[Outgoing]) {
        self.transact(all, true).await;
    }

    pub async fn roll_back(&self, all: &[Outgoing]) {
        self.transact(all, false).await;
    }

    async fn transact(&self, all: &[Outgoing], commit: bool) {
        match self {
            Self::Sqlite { dir, outbox, .. } => {
                let mut conn = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
                conn.busy_timeout(Duration::from_secs(30)).unwrap();
                let behavior = rusqlite::TransactionBehavior::Immediate;
                let tx = conn.transaction_with_behavior(behavior).unwrap();
                all.iter().for_each(|one| drop(outbox.publish(&tx, one).unwrap()));
                if commit { tx.commit().unwrap() } else { tx.rollback().unwrap() }
            }
            Self::Postgres { outbox, .. } => {
                let mut client = self.client().await;
                let tx = client.transaction().await.unwrap();
                match all {
                    [one] => drop(outbox.publish(&tx, one).await.unwrap()),
                    all => drop(outbox.publish_all(&tx, all).await.unwrap()),
                }
                if commit { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            }
        }
    }

    /// A connection to the server.
    pub async fn client(&self) -> Client {
        let Self::Postgres { url, .. } = self else { panic!("of the server") };
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// The rows that wait.
    pub async fn waiting(&self) -> u64 {
        self.outbox().lag().await.unwrap().waiting
    }
}

/// Messages `n` of keys that repeat, with `key:n` as their IDs.
pub fn messages(numbers: std::ops::Range<usize>, keys: usize) -> Vec<Outgoing> {
    let one = |n: usize| {
        let key = format!("k{}", n % keys);
        Outgoing::new("orders", n.to_string()).with_id(format!("{key}:{n:06}")).with_key(key)
    };
    numbers.map(one).collect()
}

type Behave = dyn Fn(&OutboxMessage) -> Result<(), Failure> + Send + Sync;

/// Records the messages that it confirms, and every call.
pub struct Recorder {
    pub confirmed: Mutex<Vec<String>>,
    pub calls: AtomicU64,
    pub wait: Duration,
    /// Messages of this key are never answered.
    pub silent: Option<&'static str>,
    behave: Box<Behave>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Self::that(|_| Ok(()))
    }

    pub fn that(behave: impl Fn(&OutboxMessage) -> Result<(), Failure> + Send + Sync + 'static) -> Arc<Self> {
        Self::slow(Duration::ZERO, behave)
    }

    pub fn slow(
        wait: Duration,
        behave: impl Fn(&OutboxMessage) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let behave = Box::new(behave);
        Arc::new(Self { confirmed: Mutex::default(), calls: AtomicU64::new(0), wait, silent: None, behave })
    }

    pub fn silent(key: &'static str) -> Arc<Self> {
        let quick = Self::that(|_| Ok(()));
        Arc::new(Self { silent: Some(key), ..Arc::into_inner(quick).unwrap() })
    }

    pub fn ids(&self) -> Vec<String> {
        self.confirmed.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.confirmed.lock().unwrap().len()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

#[async_trait::async_trait]
impl OutboxPublisher for Recorder {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.silent.is_some_and(|key| message.key.as_deref() == Some(key.as_bytes())) {
            std::future::pending::<()>().await;
        }
        match self.wait.is_zero() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(self.wait).await,
        }
        (self.behave)(message)?;
        self.confirmed.lock().unwrap().push(message.id.clone());
        Ok(())
    }
}

/// A relay that runs.
pub struct Running {
    shutdown: CancellationToken,
    pub task: JoinHandle<Result<OutboxCounts>>,
}

impl Running {
    pub fn start(outbox: &Outbox, publisher: &Arc<Recorder>) -> Self {
        Self::with(outbox, publisher, options())
    }

    pub fn with(outbox: &Outbox, publisher: &Arc<Recorder>, options: OutboxOptions) -> Self {
        let shutdown = CancellationToken::new();
        let outbox = outbox.with_options(options).with_shutdown(shutdown.clone());
        let publisher = publisher.clone();
        Self { shutdown, task: tokio::spawn(async move { outbox.run(publisher).await }) }
    }

    pub async fn stop(self) -> OutboxCounts {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// Ends it as a kill does: nothing is given back.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub fn options() -> OutboxOptions {
    let mut options = OutboxOptions::default();
    options.lease = Duration::from_secs(1);
    options.backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(100) };
    options.attempts = 3;
    options
}

/// Waits until `condition` holds. The bound only turns a hang into a failure.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !condition().await {
        assert!(Instant::now() < end, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The first copies, each ID once.
pub fn first_copies(ids: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    ids.iter().filter(|id| seen.insert((*id).clone())).cloned().collect()
}

/// Panics unless the first copies of each key are in order.
pub fn assert_in_order(ids: &[String]) {
    let mut last: HashMap<String, String> = HashMap::new();
    for id in first_copies(ids) {
        let key = id.split(':').next().unwrap().to_owned();
        if let Some(before) = last.insert(key, id.clone()) {
            assert!(before < id, "{id} came after {before}");
        }
    }
}
