//! Random histories of two clients, each with connections of its own, on a clock that the test moves.
//!
//! The statements decide on the server, and a client keeps nothing that another one could miss but prepared statements,
//! which belong to a connection: a second process would add nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackonce_testkit::histories::{Fixture, Party};
use ackonce_testkit::servers;
use async_trait::async_trait;
use tokio_postgres::{Client, NoTls};

use crate::{PostgresConfig, SchemaName, Sweep, Tables};

const CLOCK: &str = "(SELECT t FROM {schema}.test_clock WHERE one)";

struct Moved {
    config: PostgresConfig,
    client: Client,
    now: AtomicU64,
}

#[async_trait]
impl Fixture for Moved {
    async fn open(&self, _: usize) -> Party {
        Party::here(Arc::new(self.config.clone().connect().await.unwrap()))
    }

    async fn pass(&self, time: Duration) -> Option<u64> {
        let time = u64::try_from(time.as_micros()).unwrap();
        let now = self.now.fetch_add(time, Ordering::Relaxed) + time;
        let moment = i64::try_from(now).unwrap();
        self.client.execute("UPDATE test_clock SET t = $1", &[&moment]).await.unwrap();
        Some(now)
    }

    fn histories(&self) -> u32 {
        12
    }
}

async fn moved(url: &str) -> Moved {
    let schema = SchemaName::new(format!("histories {}", std::process::id())).unwrap();
    let config = PostgresConfig { clock: CLOCK, sweep: Sweep::Manual, ..PostgresConfig::new(url).unwrap() }
        .with_schema(schema.clone())
        .with_tables(Tables::CreateMissing);
    // Makes the tables.
    drop(config.clone().connect().await.unwrap());
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let text = format!(
        "SET search_path = {quoted}; \
         CREATE TABLE test_clock (one bool PRIMARY KEY, t int8); INSERT INTO test_clock VALUES (true, 1000)",
        quoted = schema.quoted()
    );
    client.batch_execute(&text).await.unwrap();
    Moved { config, client, now: AtomicU64::new(1000) }
}

ackonce_testkit::histories!(
    postgres_histories,
    match servers::address("ACKONCE_TEST_POSTGRES") {
        Some(url) => moved(&url).await,
        None => return,
    }
);
