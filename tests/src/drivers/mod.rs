//! The inboxes of PostgreSQL, one for each driver, behind one interface: the suite and the crash runs are written once.

mod acts;
mod diesel;
mod postgres;
mod seaorm;
mod sqlx;

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{GuardOptions, Record};
use ackonce::{Answer, Class, Context, Failure, Handler, Item, Key};
use ackonce_postgres::{Entered, InboxSettings, PostgresStore, SchemaName};
use async_trait::async_trait;

pub use acts::{Act, Ends};
pub use postgres::perform_in;

/// A driver whose transactions a handler may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum Driver {
    Postgres,
    Sqlx,
    SeaOrm,
    Diesel,
}

/// The database and the pool of an inbox.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The database.
    pub url: String,
    /// The most connections.
    pub connections: usize,
    /// The longest wait for one.
    pub wait: Duration,
    /// The inbox's settings.
    pub settings: InboxSettings,
}

impl Pool {
    /// A pool of some connections, that is waited for.
    pub fn new(url: &str) -> Self {
        let wait = Duration::from_secs(60);
        Self { url: url.to_owned(), connections: 4, wait, settings: InboxSettings::default() }
    }
}

/// The acts of a handler for a message.
pub type Script<M> = Arc<dyn Fn(&Context, M) -> Vec<Act> + Send + Sync>;

/// An inbox of any driver.
#[allow(missing_debug_implementations, reason = "a handler has none")]
pub struct AnyInbox<M>(Box<dyn Handler<M>>);

#[async_trait]
impl<M: Send + 'static> Handler<M> for AnyInbox<M> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        self.0.handle(items).await
    }
}

/// The answer to a guard's claim, and the end of its transaction.
#[derive(Debug)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum Guarded {
    Committed,
    Refused(ackonce::Error),
    Duplicate(Record),
    Busy,
    Mismatch,
}

/// A guard's run: the statements between its claim and its end, with their errors passed over.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct GuardRun {
    pub url: String,
    pub schema: SchemaName,
    pub key: Key,
    pub options: GuardOptions,
    pub statements: Vec<String>,
}

impl Driver {
    /// An inbox whose handler performs the acts of `script`.
    pub async fn inbox<M: Send + 'static>(
        self,
        store: &PostgresStore,
        pool: &Pool,
        script: Script<M>,
    ) -> AnyInbox<M> {
        AnyInbox(match self {
            Self::Postgres => Box::new(postgres::inbox(store, pool, script)),
            Self::Sqlx => Box::new(sqlx::inbox(store, pool, script)),
            Self::SeaOrm => Box::new(seaorm::inbox(store, pool, script).await),
            Self::Diesel => Box::new(diesel::inbox(store, pool, script)),
        })
    }

    /// Enters a message by a guard, and if it is the first runs the statements, finishes with the outcome `out` and commits.
    pub async fn guard(self, run: &GuardRun) -> Guarded {
        match self {
            Self::Postgres => postgres::guard(run).await,
            Self::Sqlx => sqlx::guard(run).await,
            Self::SeaOrm => seaorm::guard(run).await,
            Self::Diesel => diesel::guard(run).await,
        }
    }

    /// Performs acts in a plain transaction, which is committed or rolled back.
    ///
    /// # Errors
    /// Of a statement, and the failures among the acts; nothing is committed then.
    pub async fn produce(self, url: &str, acts: Vec<Act>, commit: bool) -> Result<(), Failure> {
        match self {
            Self::Postgres => postgres::produce(url, acts, commit).await,
            Self::Sqlx => sqlx::produce(url, acts, commit).await,
            Self::SeaOrm => seaorm::produce(url, acts, commit).await,
            Self::Diesel => diesel::produce(url, acts, commit).await,
        }
    }
}

/// The answers of a guard but the first.
fn not_first<G>(entered: Entered<G>) -> Guarded {
    match entered {
        Entered::First(_) => unreachable!("it was looked at before"),
        Entered::Duplicate(record) => Guarded::Duplicate(record),
        Entered::Busy { .. } => Guarded::Busy,
        Entered::Mismatch(_) => Guarded::Mismatch,
    }
}
