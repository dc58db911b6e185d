//! An order service: each order takes a piece out of the stock and is announced once, however often it is delivered.
//!
//! ```sh
//! scripts/servers run postgres -- cargo run -p ackonce-sqlx --example orders
//! ```
#![allow(clippy::print_stdout, reason = "it prints the stock")]

use std::{error::Error, sync::Arc, time::Duration};

use ackonce::adapter::{Delivery, Job};
use ackonce::{CancellationToken, Failure, Runner, Scope};
use ackonce_outbox::{OutboxMessage, OutboxPublisher, Outgoing};
use ackonce_postgres::{PostgresConfig, SchemaName, Tables};
use ackonce_sqlx::sqlx::{self, AssertSqlSafe, PgPool, PgTransaction};
use ackonce_sqlx::{SqlxInbox, SqlxOutbox};

/// A stand-in for a broker's delivery; a Kafka or RabbitMQ consumer takes the same inbox.
#[derive(Clone)]
struct Order(i64, &'static str);

impl Delivery for Order {
    type Message = Self;
    fn message(&self) -> Self {
        self.clone()
    }
}

/// A stand-in for `KafkaPublisher` or `AmqpPublisher`.
#[derive(Debug)]
struct Printer;

#[async_trait::async_trait]
impl OutboxPublisher for Printer {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        println!("to {}: {}", message.to, String::from_utf8_lossy(&message.payload));
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&std::env::var("ACKONCE_TEST_POSTGRES").map_err(|_| "ACKONCE_TEST_POSTGRES is not set")?).await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let name = format!("orders_{}", std::process::id());
    let config = PostgresConfig::new(url)?.with_schema(SchemaName::new(&*name)?);
    let store = config.with_tables(Tables::CreateMissing).connect().await?;
    let pool = PgPool::connect(&format!("{url}?options[search_path]={name}")).await?;
    let tables = "CREATE TABLE stock (item text PRIMARY KEY, pieces int8 NOT NULL CHECK (pieces >= 0));
                  CREATE TABLE orders (id int8 NOT NULL, item text NOT NULL); INSERT INTO stock VALUES ('book', 30)";
    sqlx::raw_sql(tables).execute(&pool).await?;
    let (outbox, shutdown) = (SqlxOutbox::open(&store).await?, CancellationToken::new());
    let relay = outbox.with_shutdown(shutdown.clone());
    let relay = tokio::spawn(async move { relay.run(Printer).await });

    let (db, publishing) = (pool.clone(), outbox.clone());
    let inbox = SqlxInbox::new(&store, db, move |tx: &mut PgTransaction<'_>, _, Order(id, item)| {
        let publishing = publishing.clone();
        Box::pin(async move {
            let take = "WITH taken AS (UPDATE stock SET pieces = pieces - 1 WHERE item = $2 RETURNING item) \
                        INSERT INTO orders SELECT $1, item FROM taken";
            sqlx::query(take).bind(id).bind(item).execute(&mut **tx).await?;
            publishing.publish(tx, &Outgoing::new("placed", format!("order {id}, a {item}"))).await?;
            Ok::<_, Failure>(())
        })
    });
    let runner = Runner::new(Arc::new(store), &Scope::new("stock/take")?, outbox.waking(inbox))?;
    for delivery in 0..30 {
        let order = Order(delivery % 10, "book"); // each of ten orders comes three times
        let receipt = runner.process(Job::new(runner.key(order.0.to_string())?, order)).await?;
        let _acknowledge: Order = receipt.redeem();
    }
    while outbox.lag().await?.waiting > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.cancel();
    let announced = relay.await??.published;
    let pieces: i64 = sqlx::query_scalar("SELECT pieces FROM stock").fetch_one(&pool).await?;
    println!("{pieces} books left, {} orders run, {announced} announced", runner.counts().run);
    sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA {name} CASCADE"))).execute(&pool).await?;
    if (pieces, announced) == (20, 10) {
        Ok(())
    } else {
        Err("ten orders take ten, and are announced".into())
    }
}
