//! The parts that the tests share: a schema of its own for each test on the server of `ACKONCE_TEST_POSTGRES`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

pub mod deliveries;
pub mod own;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Lease, Settle, Settled, Settlement, Token};
use ackonce::{CancellationToken, Context, Item, Key, Scope};
use ackonce_postgres::tokio_postgres::{self, Client, NoTls};
use ackonce_postgres::{PostgresConfig, PostgresStore, Prepare, SchemaName, Sweep, Tables};

pub const HOUR: Duration = Duration::from_secs(3600);

/// A schema of one test's own.
#[derive(Clone)]
pub struct Place {
    pub url: String,
    pub schema: SchemaName,
}

/// The server; `None`, said loudly, where there is none, and a failure with `ACKONCE_REQUIRE_SERVERS=1`.
pub fn server() -> Option<String> {
    ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES")
}

/// A schema nobody has, here or in an earlier run; not created.
pub fn place() -> Option<Place> {
    static N: AtomicU64 = AtomicU64::new(0);
    let url = server()?;
    let n = N.fetch_add(1, Ordering::Relaxed);
    let schema =
        SchemaName::new(format!("test {} {n} {:?}", std::process::id(), std::thread::current().id()))
            .unwrap();
    Some(Place { url, schema })
}

/// The same in a database of its own, whose deadlocks are nobody else's, and whose vacuum waits for nobody else.
pub async fn alone() -> Option<Place> {
    let place = place()?;
    let name = place.schema.as_str().replace(|c: char| !c.is_alphanumeric(), "_").to_lowercase();
    connect(&place.url).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let url = format!("{}/{name}", place.url.rsplit_once('/').unwrap().0);
    Some(Place { url, ..place })
}

impl Place {
    /// Its `host:port`.
    pub fn server(&self) -> &str {
        self.url.split_once('@').unwrap().1.split('/').next().unwrap()
    }

    /// Nothing happens in it that the test did not ask for.
    pub fn config(&self) -> PostgresConfig {
        PostgresConfig::new(&self.url)
            .unwrap()
            .with_schema(self.schema.clone())
            .with_tables(Tables::CreateMissing)
            .with_sweep(Sweep::Manual)
    }

    /// A client of its own, behind a proxy.
    pub async fn wire(&self, prepare: Prepare) -> Box<dyn ackonce_testkit::conformance::Breakable> {
        let (proxy, url) = ackonce_testkit::proxy::Proxy::in_front_of(&self.url).await.unwrap();
        let config = Self { url, schema: self.schema.clone() }.config().with_prepare(prepare);
        let client = config.with_request_timeout(Duration::from_secs(2)).connect().await.unwrap();
        Box::new(ackonce_testkit::conformance::Wire { proxy, client: std::sync::Arc::new(client) })
    }

    pub async fn store(&self) -> PostgresStore {
        self.config().connect().await.unwrap()
    }

    /// A connection beside the store's. Unqualified names mean the place's schema.
    pub async fn client(&self) -> Client {
        let client = connect(&self.url).await;
        let path = format!("SET search_path = \"{}\", public", self.schema.as_str());
        client.batch_execute(&path).await.unwrap();
        client
    }

    /// A statement on a table of the place's schema: the first word after INTO, UPDATE or FROM is qualified.
    pub fn text(&self, text: &str) -> String {
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        for n in 1..words.len() {
            if ["INTO", "UPDATE", "FROM", "TABLE"].contains(&words[n - 1].as_str()) {
                words[n] = format!("\"{}\".{}", self.schema.as_str(), words[n]);
            }
        }
        words.join(" ")
    }

    /// The first column of the first row.
    pub async fn value(&self, text: &str) -> i64 {
        self.client().await.query_one(text, &[]).await.unwrap().get(0)
    }
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub fn key(id: impl std::fmt::Display) -> Key {
    Scope::new("orders/charge").unwrap().key(id.to_string()).unwrap()
}

pub fn request(id: impl std::fmt::Display) -> ClaimRequest {
    ClaimRequest { key: key(id), token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None }
}

pub async fn acquire(store: &PostgresStore, request: ClaimRequest) -> Lease {
    match store.claim_one(request).await.unwrap() {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

/// An outcome beyond the store's limit.
pub fn impossible() -> Settle {
    Settle::Complete { window: HOUR, outcome: Some(vec![0; ackonce_postgres::MAX_VALUE_LEN + 1].into()) }
}

pub fn done() -> Settle {
    Settle::Complete { window: HOUR, outcome: None }
}

pub async fn complete(store: &PostgresStore, lease: &Lease) {
    assert_eq!(store.settle_one(Settlement::new(lease, done())).await.unwrap(), Settled::Yes);
}

/// The argument that the runner passes to a handler under that lease.
pub fn item<M>(lease: &Lease, message: M) -> Item<M> {
    Item { cx: Context::new(lease.clone(), CancellationToken::new()), message }
}

pub async fn is_done(store: &PostgresStore, id: impl std::fmt::Display) -> bool {
    matches!(store.claim_one(request(id)).await.unwrap(), Claimed::Done(_))
}
