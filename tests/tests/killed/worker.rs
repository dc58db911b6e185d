//! A worker process: this test binary again, told by its environment to be one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, NoDeadLetters};
use ackonce::{
    Backoff, Context, Deduplicator, EntityVersion, Failure, Handler, Keyed, Newest, Runner, Scope, Settings,
};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_sqlite::InboxTx;
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_testkit::lines;
use futures_util::StreamExt;

use crate::place::Place;

pub(crate) const TEST: &str = "worker";
pub(crate) const HOME: &str = "ACKONCE_TEST_HOME";
pub(crate) const WORK: &str = "ACKONCE_TEST_WORK";
pub(crate) const WORKER: &str = "ACKONCE_TEST_WORKER";
pub(crate) const MESSAGES: u64 = 1000;
pub(crate) const ENTITIES: u64 = 20;
/// The last message of an entity by number is not its newest version.
pub(crate) const PRIME: u64 = 383;

struct Numbered(u64);

impl Delivery for Numbered {
    type Message = u64;
    fn message(&self) -> u64 {
        self.0
    }
}

/// Entity and version of a message: the versions of each come in a scattered order.
pub(crate) fn entity_and_version(n: u64) -> (u64, u64) {
    let place = n * PRIME % MESSAGES;
    (place % ENTITIES, place / ENTITIES)
}

/// The same as numbers of a database.
fn change(n: u64) -> (u32, u32) {
    let (entity, version) = entity_and_version(n);
    (u32::try_from(entity).unwrap(), u32::try_from(version).unwrap())
}

const PG_CHANGE: &str = "INSERT INTO killed.change (entity, version) VALUES ($1, $2)";

fn version_of(n: &u64) -> Result<EntityVersion, Failure> {
    let (entity, version) = entity_and_version(*n);
    Ok(EntityVersion::integer(entity.to_string(), version))
}

pub(crate) struct Worker {
    home: PathBuf,
    place: Place,
    number: String,
}

impl Worker {
    /// Runs until the fleet ends it.
    pub(crate) async fn run_if_asked() -> bool {
        let Some(home) = std::env::var_os(HOME) else { return false };
        let place = Place::from_env();
        let worker = Self { home: home.into(), place, number: std::env::var(WORKER).unwrap() };
        match std::env::var(WORK).unwrap().as_str() {
            "steps" => worker.steps().await,
            "versions" => worker.versions().await,
            _ => worker.inbox().await,
        }
        lines::Writer::open(worker.home.join(format!("through-{}", worker.number)))
            .unwrap()
            .append("all")
            .unwrap();
        std::future::pending().await
    }

    /// Three steps: each appends its effect to the ledger, and a line to `recorded` once it has returned.
    async fn steps(&self) {
        let ledger = Arc::new(Ledger::open(self.home.join("ledger")).unwrap());
        let recorded = Arc::new(Ledger::open(self.home.join("recorded")).unwrap());
        let handler = Keyed(move |cx: Context, n: u64| {
            let (ledger, recorded) = (ledger.clone(), recorded.clone());
            async move {
                for name in ["one", "two", "three"] {
                    let entry = || LedgerEntry { id: format!("{n}/{name}"), ..LedgerEntry::now(&cx, name) };
                    point(&format!("before-{name}"));
                    cx.step(name, async |_| {
                        ledger.append(&entry())?;
                        point(&format!("effect-{name}"));
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        Ok(n)
                    })
                    .await?;
                    // Of an answer from the record there is nothing new to tell.
                    recorded.append(&entry())?;
                    point(&format!("recorded-{name}"));
                }
                Ok::<(), Failure>(())
            }
        });
        self.all(self.place.store(&self.home).await, handler).await;
    }

    async fn versions(&self) {
        let ledger = Arc::new(Ledger::open(self.home.join("ledger")).unwrap());
        let handler = Newest::new(version_of, move |cx: Context, n: u64| {
            let ledger = ledger.clone();
            async move {
                point("before-effect");
                ledger.append(&LedgerEntry { id: n.to_string(), ..LedgerEntry::now(&cx, "write") })?;
                point("after-effect");
                tokio::time::sleep(Duration::from_millis(3)).await;
                Ok::<(), Failure>(())
            }
        });
        self.all(self.place.store(&self.home).await, handler).await;
    }

    async fn inbox(&self) {
        if let Place::Postgres(url) = &self.place {
            let store = Place::schema(url).await;
            let handler = store.inbox(|tx: &Transaction<'_>, _: Context, n: u64| {
                Box::pin(async move {
                    let (entity, version) = change(n);
                    tx.execute(PG_CHANGE, &[&i64::from(entity), &i64::from(version)]).await?;
                    Ok::<(), Failure>(())
                })
            });
            return self.all(Arc::new(store), Newest::new(version_of, handler)).await;
        }
        let store = Place::file(&self.home);
        let handler = store.inbox(|tx: &InboxTx<'_>, _: &Context, n: &u64| {
            tx.execute("INSERT INTO change (entity, version) VALUES (?1, ?2)", change(*n))?;
            Ok::<(), Failure>(())
        });
        self.all(Arc::new(store), Newest::new(version_of, handler)).await;
    }

    async fn all(&self, store: Arc<dyn Deduplicator>, handler: impl Handler<u64>) {
        // The server keeps the records of other runs.
        let scope = Scope::new(format!("killed{}", self.home.display())).unwrap();
        let settings = Settings::default()
            // A busy machine costs nobody a lease.
            .with_lease(Duration::from_secs(5))
            .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) });
        let runner = Runner::with(store, &scope, handler, settings, Arc::new(NoDeadLetters)).unwrap();
        // Each begins at another place, and all of them get through all.
        let begin: u64 = self.number.parse::<u64>().unwrap() * 333;
        let each = |n: u64| {
            let (runner, n) = (runner.clone(), (n + begin) % MESSAGES);
            async move {
                let job = Job::new(runner.key(n.to_string()).unwrap(), Numbered(n));
                let _acknowledged = runner.process(job).await.unwrap().redeem();
            }
        };
        futures_util::stream::iter(0..MESSAGES).for_each_concurrent(8, each).await;
    }
}
