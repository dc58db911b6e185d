//! A consumer whose handler writes with sqlx: rows and record commit in one transaction.
//!
//! The consumer has claimed the message before it calls the handler, so there is nothing to enter: the handler's last
//! statement finishes the message under the lease that it was given. (A handler that entered it again would find it busy:
//! held by its own consumer.)
//!
//! ```sh
//! scripts/servers run postgres -- cargo run -p ackonce-postgres --example sqlx
//! ```
//!
//! Needs `ACKONCE_TEST_POSTGRES`; makes a schema of its own and drops it.
#![allow(clippy::print_stdout, reason = "it prints balances")]

use std::error::Error as StdError;
use std::sync::Arc;

use ackonce::adapter::{Delivery, Job, Mode, Ordered, RecordOnly};
use ackonce::store::Settled;
use ackonce::{Answer, Class, Effect, Error, ErrorKind, Failure, Handler, Item, Runner, Scope, Settings};
use ackonce_postgres::{DEFAULT_WINDOW, PostgresConfig, SchemaName, Tables, finish_sql};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgPool};

/// A payment into an account.
#[derive(Clone)]
struct Payment {
    account: &'static str,
    amount: i64,
}

/// Books payments, each once.
struct Book {
    pool: PgPool,
    /// [`finish_sql`] for the schema of the store.
    finish: String,
}

#[async_trait]
impl Handler<Payment> for Book {
    /// The handler promises the inbox class and keeps it by one transaction with [`finish_sql`] as its last statement.
    fn class(&self) -> Class {
        Class::Inbox
    }

    async fn handle(&self, items: Vec<Item<Payment>>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            answers.push(self.book(item).await);
        }
        answers
    }
}

impl Book {
    async fn book(&self, Item { cx, message }: Item<Payment>) -> Answer {
        let mut tx = self.pool.begin().await.map_err(Failure::infrastructure)?;
        sqlx::query("UPDATE account SET balance = balance + $2 WHERE name = $1")
            .bind(message.account)
            .bind(message.amount)
            .execute(&mut *tx)
            .await?;
        let lease = cx.lease();
        let window = cx.window().unwrap_or(DEFAULT_WINDOW);
        let finished = sqlx::query(AssertSqlSafe(self.finish.clone()))
            .bind(&lease.key.digest()[..]) // $1 bytea: the key
            .bind(&lease.token.0[..]) // $2 bytea: the attempt
            .bind(i64::try_from(lease.fence).unwrap_or(-1)) // $3 int8
            .bind(i64::try_from(window.as_micros()).unwrap_or(i64::MAX >> 3)) // $4 int8: the window, µs
            .bind(None::<&[u8]>) // $5 bytea: the outcome to replay
            .fetch_optional(&mut *tx)
            .await?;
        if finished.is_none() {
            // Another worker has the message by now, or an earlier COMMIT of this attempt was applied after all. The
            // transaction is rolled back, and the consumer asks the store.
            return Err(Failure::Fenced);
        }
        // A COMMIT without an answer may have happened: the consumer asks the store before it runs the message again.
        let unknown = |e| Error::new(ErrorKind::Unavailable, "committing a payment").with_source(e);
        tx.commit().await.map_err(|e| Failure::Store(unknown(e)))?;
        Effect::recorded(Settled::Yes).ok_or(Failure::Fenced)
    }
}

/// A stand-in for a broker's delivery.
#[derive(Debug)]
struct Delivered(u64);

impl Delivery for Delivered {
    type Message = Payment;
    fn message(&self) -> Payment {
        Payment { account: "alice", amount: 5 }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    run(&std::env::var("ACKONCE_TEST_POSTGRES").map_err(|_| "ACKONCE_TEST_POSTGRES is not set")?).await
}

/// Runs the example; a test calls it.
pub(crate) async fn run(url: &str) -> Result<(), Box<dyn StdError>> {
    let name = format!("example_sqlx_{}", std::process::id());
    let schema = SchemaName::new(name.as_str())?;
    let config = PostgresConfig::new(url)?.with_schema(schema.clone()).with_tables(Tables::CreateMissing);
    let store = Arc::new(config.connect().await?);
    // The account table is in the schema of the records here; any schema of the same database works.
    let pool = PgPool::connect(&format!("{url}?options[search_path]={name}")).await?;
    sqlx::raw_sql(
        "CREATE TABLE account (name text PRIMARY KEY, balance int8 NOT NULL); INSERT INTO account VALUES ('alice', 0)",
    )
    .execute(&pool)
    .await?;

    let book = Book { pool: pool.clone(), finish: finish_sql(&schema) };
    let scope = Scope::new("payments/book")?;
    let runner = Runner::with(store, &scope, book, Settings::default(), Arc::new(RecordOnly))?;
    // Ten payments, each delivered three times.
    for round in 1..=3 {
        let (input, chunks) = tokio::sync::mpsc::channel(1);
        let mut jobs = Vec::new();
        for n in 0..10 {
            jobs.push(Ordered { lane: None, job: Job::new(runner.key(n.to_string())?, Delivered(n)) });
        }
        input.send(jobs).await?;
        drop(input);
        let acknowledge = |ended: Vec<
            Result<ackonce::adapter::Receipt<Delivered>, ackonce::adapter::Unsettled<Delivered>>,
        >| {
            for receipt in ended.into_iter().flatten() {
                let Delivered(_n) = receipt.redeem();
            }
        };
        runner.consume(chunks, Mode::Each, acknowledge).await?;
        let balance: i64 =
            sqlx::query_scalar("SELECT balance FROM account WHERE name = 'alice'").fetch_one(&pool).await?;
        println!("round {round}: balance {balance}, runs {}", runner.counts().run);
        if balance != 50 {
            return Err(format!("ten payments of 5 make 50, not {balance}").into());
        }
    }
    sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA {name} CASCADE"))).execute(&pool).await?;
    Ok(())
}
