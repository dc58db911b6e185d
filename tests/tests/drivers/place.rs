//! A schema of a test's own, its store, and the driver under test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Lease, Token};
use ackonce::{CancellationToken, Context, Item, Key, Scope};
use ackonce_postgres::tokio_postgres::{self, Client, NoTls};
use ackonce_postgres::{PostgresConfig, PostgresStore, SchemaName, Sweep, Tables};
use ackonce_tests::drivers::{Act, AnyInbox, Driver, Pool};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

const TABLES: &str = "CREATE TABLE {s}.effect (id text NOT NULL UNIQUE);
    CREATE TABLE {s}.owner (id text NOT NULL PRIMARY KEY);
    CREATE TABLE {s}.pet (owner text REFERENCES {s}.owner DEFERRABLE INITIALLY DEFERRED)";

pub(crate) struct Place {
    pub(crate) driver: Driver,
    pub(crate) url: String,
    pub(crate) schema: SchemaName,
    pub(crate) store: PostgresStore,
}

impl Place {
    /// `None`, said loudly, where there is no server.
    pub(crate) async fn new(driver: Driver) -> Option<Self> {
        static N: AtomicUsize = AtomicUsize::new(0);
        let url = ackonce_tests::books::server()?;
        let n = N.fetch_add(1, Ordering::Relaxed);
        let schema = SchemaName::new(format!("drivers {} {n}", std::process::id())).unwrap();
        Some(Self::at(driver, url, schema).await)
    }

    pub(crate) async fn at(driver: Driver, url: String, schema: SchemaName) -> Self {
        let store = store(&url, &schema).await;
        let place = Self { driver, url, schema, store };
        place.client().await.batch_execute(&place.sql(TABLES)).await.unwrap();
        place
    }

    /// A text with `{s}` for the schema.
    pub(crate) fn sql(&self, text: &str) -> String {
        text.replace("{s}", &format!("\"{}\"", self.schema.as_str()))
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let text = self.sql(&format!("SELECT count(*) FROM {{s}}.{table}"));
        self.client().await.query_one(&text, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn effects(&self) -> Vec<String> {
        let text = self.sql("SELECT id FROM {s}.effect ORDER BY id");
        self.client().await.query(&text, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// An inbox whose messages are the acts of their handlers.
    pub(crate) async fn inbox(&self) -> AnyInbox<Vec<Act>> {
        self.inbox_with(&Pool::new(&self.url)).await
    }

    pub(crate) async fn inbox_with(&self, pool: &Pool) -> AnyInbox<Vec<Act>> {
        self.driver.inbox(&self.store, pool, Arc::new(|_, acts| acts)).await
    }

    pub(crate) fn run(&self, text: &str) -> Act {
        Act::Run(self.sql(text))
    }

    pub(crate) fn insert(&self, id: &str) -> Act {
        self.run(&format!("INSERT INTO {{s}}.effect VALUES ('{id}')"))
    }

    pub(crate) fn swallow(&self, text: &str) -> Act {
        Act::Swallow(self.sql(text))
    }

    /// A claimed message.
    pub(crate) async fn item(&self, id: &str, acts: Vec<Act>) -> Item<Vec<Act>> {
        item(&acquire(&self.store, request(id)).await, acts)
    }

    pub(crate) async fn is_done(&self, id: &str) -> bool {
        matches!(self.store.claim_one(request(id)).await.unwrap(), Claimed::Done(_))
    }
}

pub(crate) async fn store(url: &str, schema: &SchemaName) -> PostgresStore {
    let config = PostgresConfig::new(url).unwrap().with_schema(schema.clone());
    let config = config.with_tables(Tables::CreateMissing).with_sweep(Sweep::Manual).with_connections(2);
    config.connect().await.unwrap()
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn key(id: &str) -> Key {
    Scope::new("orders/charge").unwrap().key(id.to_owned()).unwrap()
}

pub(crate) fn request(id: &str) -> ClaimRequest {
    ClaimRequest { key: key(id), token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None }
}

pub(crate) async fn acquire(store: &PostgresStore, request: ClaimRequest) -> Lease {
    match store.claim_one(request).await.unwrap() {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

pub(crate) fn item(lease: &Lease, acts: Vec<Act>) -> Item<Vec<Act>> {
    Item { cx: Context::new(lease.clone(), CancellationToken::new()), message: acts }
}
