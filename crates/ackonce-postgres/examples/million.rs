//! The cost of a million messages: time, bytes, and the additional room of a second million.
//!
//! ```sh
//! scripts/servers run postgres -- cargo run --release -p ackonce-postgres --example million [RECORDS [held]]
//! ```
//!
//! Messages are claimed and completed in batches of 1000 by four tasks. The table is vacuumed after every 60 000 of
//! them, as autovacuum (once a minute) does at 1000 messages a second. With `held`, another connection keeps a
//! transaction open during the first round, so that no vacuum drops a row. Needs `ACKONCE_TEST_POSTGRES`, and leaves
//! nothing behind.
#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Inspect, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator, Scope};
use ackonce_postgres::tokio_postgres::{Client, NoTls, connect};
use ackonce_postgres::{PostgresConfig, PostgresStore, SchemaName, Sweep, Tables};

type Any = Box<dyn Error + Send + Sync>;

const BATCH: u32 = 1000;
const TASKS: u32 = 4;
const PER_VACUUM: u32 = 60_000;
const WINDOW: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Any> {
    let url = std::env::var("ACKONCE_TEST_POSTGRES").map_err(|_| "ACKONCE_TEST_POSTGRES is not set")?;
    let records: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |n| n.parse())?;
    let is_held = std::env::args().nth(2).is_some_and(|word| word == "held");
    let schema = SchemaName::new(format!("million_{}", std::process::id()))?;
    let store = PostgresConfig::new(&url)?
        .with_schema(schema.clone())
        .with_tables(Tables::CreateMissing)
        .with_sweep(Sweep::Manual)
        .connect()
        .await?;
    let (client, connection) = connect(&url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = {}", schema.as_str())).await?;
    let (holder, connection) = connect(&url, NoTls).await?;
    tokio::spawn(connection);
    if is_held {
        holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await?;
    }

    println!("{:<34} {:>10} {:>10} {:>10}", "", "table MB", "index MB", "bytes/ID");
    print(&client, "empty", records).await?;
    for round in ["first", "second"] {
        fill(&store, &client, round, records).await?;
        print(&client, &format!("{round} {records}, settled"), records).await?;
        tokio::time::sleep(WINDOW).await;
        if is_held {
            holder.batch_execute("ROLLBACK").await?;
        }
        let began = Instant::now();
        let swept = store.sweep().await?;
        println!("  {swept} swept in {:.1} s", began.elapsed().as_secs_f64());
        client.batch_execute("VACUUM record").await?;
        print(&client, "swept and vacuumed", records).await?;
    }
    client.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema.as_str())).await?;
    Ok(())
}

/// Claims and completes that many new messages.
async fn fill(store: &PostgresStore, client: &Client, round: &str, records: u32) -> Result<(), Any> {
    let (mut claiming, mut settling, mut done) = (Duration::ZERO, Duration::ZERO, 0);
    while done < records {
        let part = PER_VACUUM.min(records - done);
        let next = AtomicU32::new(done);
        let runs = (0..TASKS).map(|_| run(store, round, &next, done + part));
        for times in futures_util::future::try_join_all(runs).await? {
            claiming += times.0 / TASKS;
            settling += times.1 / TASKS;
        }
        done += part;
        client.batch_execute("VACUUM record").await?;
    }
    let rate = |time: Duration| f64::from(records) / time.as_secs_f64();
    println!(
        "  {:.0} claims/s and {:.0} completions/s: {:.0} messages/s",
        rate(claiming),
        rate(settling),
        rate(claiming + settling)
    );
    Ok(())
}

async fn run(
    store: &PostgresStore,
    round: &str,
    next: &AtomicU32,
    end: u32,
) -> Result<(Duration, Duration), Any> {
    let scope = Scope::new("example")?;
    let (mut claiming, mut settling) = (Duration::ZERO, Duration::ZERO);
    loop {
        let from = next.fetch_add(BATCH, Ordering::Relaxed);
        if from >= end {
            return Ok((claiming, settling));
        }
        let requests = (from..end.min(from + BATCH)).map(|n| {
            Ok(ClaimRequest {
                key: scope.key(format!("{round} {n}"))?,
                token: Token::random(),
                lease: Duration::from_secs(15),
                window: WINDOW,
                fingerprint: None,
            })
        });
        let requests = requests.collect::<Result<Vec<_>, Any>>()?;
        let began = Instant::now();
        let answers = store.claim(&requests).await?;
        claiming += began.elapsed();
        let done = Settle::Complete { window: WINDOW, outcome: None };
        let settlements: Vec<_> = answers
            .iter()
            .filter_map(|answer| match answer {
                Claimed::Acquired(lease) => Some(Settlement::new(lease, done.clone())),
                _ => None,
            })
            .collect();
        let began = Instant::now();
        let settled = store.settle(&settlements).await?;
        settling += began.elapsed();
        assert!(settled.len() == requests.len() && settled.iter().all(|s| *s == Settled::Yes));
    }
}

async fn print(client: &Client, what: &str, records: u32) -> Result<(), Any> {
    let text = "SELECT pg_table_size('record')::float8, pg_indexes_size('record')::float8";
    let row = client.query_one(text, &[]).await?;
    let (table, index): (f64, f64) = (row.get(0), row.get(1));
    let per_id = (table + index) / f64::from(records);
    println!("{what:<34} {:>10.1} {:>10.1} {per_id:>10.1}", table / 1e6, index / 1e6);
    Ok(())
}
