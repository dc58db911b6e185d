//! Messages claimed and completed per second in batches, beside the least that remembers anything: one
//! `INSERT … SELECT unnest(…) ON CONFLICT (key) DO NOTHING` per batch, in turns on the same server. One caller.
//!
//! ```sh
//! scripts/servers run postgres -- cargo run --release -p ackonce-postgres --example throughput
//! ```
//!
//! Needs `ACKONCE_TEST_POSTGRES`, and leaves nothing behind. A message is two trips, a bare insert is one.
#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::error::Error;
use std::time::{Duration, Instant};

use ackonce::{ClaimRequest, Claimed, Deduplicator, Scope, Settle, Settled, Settlement, Token};
use ackonce_postgres::tokio_postgres::{Client, NoTls, Statement, connect};
use ackonce_postgres::{PostgresConfig, PostgresStore, SchemaName, Tables};

type Any = Box<dyn Error + Send + Sync>;

const HOUR: Duration = Duration::from_secs(3600);
const ROUNDS: usize = 9;

#[tokio::main]
async fn main() -> Result<(), Any> {
    let url = std::env::var("ACKONCE_TEST_POSTGRES").map_err(|_| "ACKONCE_TEST_POSTGRES is not set")?;
    let schema = SchemaName::new(format!("throughput_{}", std::process::id()))?;
    let config = PostgresConfig::new(&url)?.with_schema(schema.clone()).with_tables(Tables::CreateMissing);
    let store = config.connect().await?;
    let (client, connection) = connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let table = "CREATE TABLE bare (key bytea PRIMARY KEY, at timestamptz NOT NULL)";
    client.batch_execute(&format!("SET search_path = {}; {table}", schema.as_str())).await?;
    let insert = client
        .prepare(
            "INSERT INTO bare SELECT unnest($1::bytea[]), now() ON CONFLICT (key) DO NOTHING RETURNING key",
        )
        .await?;

    println!(
        "{:>6} {:>12} {:>12} {:>12} {:>12}",
        "batch", "bare/s", "messages/s", "duplicates/s", "bare/message"
    );
    for (batch, batches) in [(1, 400), (64, 60), (1000, 12)] {
        // In turns, so that whatever else the machine does falls on all of them.
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let ids = (0..batches).map(|_| ids(batch)).collect::<Vec<_>>();
            rounds.push([
                bare(&client, &insert, &ids).await?,
                messages(&store, &ids).await?,
                duplicates(&store, &ids).await?,
            ]);
        }
        let median = |of: fn(&[f64; 3]) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[ROUNDS / 2]
        };
        let per_second = |seconds: f64| f64::from(batch * batches) / seconds;
        println!(
            "{batch:>6} {:>12.0} {:>12.0} {:>12.0} {:>12.2}",
            per_second(median(|r| r[0])),
            per_second(median(|r| r[1])),
            per_second(median(|r| r[2])),
            median(|r| r[1] / r[0])
        );
    }
    client.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema.as_str())).await?;
    Ok(())
}

fn ids(batch: u32) -> Vec<Vec<u8>> {
    (0..batch).map(|_| Token::random().0.to_vec()).collect()
}

async fn bare(client: &Client, insert: &Statement, ids: &[Vec<Vec<u8>>]) -> Result<f64, Any> {
    let began = Instant::now();
    for ids in ids {
        let mut sorted: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        sorted.sort_unstable();
        assert_eq!(client.query(insert, &[&sorted]).await?.len(), ids.len());
    }
    Ok(began.elapsed().as_secs_f64())
}

fn requests(ids: &[Vec<u8>]) -> Result<Vec<ClaimRequest>, Any> {
    let scope = Scope::new("example")?;
    let request = |id: &Vec<u8>| {
        let key = scope.key(id.clone())?;
        Ok(ClaimRequest { key, token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None })
    };
    ids.iter().map(request).collect()
}

/// Claims and completes them.
async fn messages(store: &PostgresStore, ids: &[Vec<Vec<u8>>]) -> Result<f64, Any> {
    let began = Instant::now();
    for ids in ids {
        let answers = store.claim(&requests(ids)?).await?;
        let done = Settle::Complete { window: 24 * HOUR, outcome: None };
        let settlements = answers.iter().filter_map(|answer| match answer {
            Claimed::Acquired(lease) => Some(Settlement::new(lease, done.clone())),
            _ => None,
        });
        let settled = store.settle(&settlements.collect::<Vec<_>>()).await?;
        assert!(settled.len() == ids.len() && settled.iter().all(|answer| *answer == Settled::Yes));
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn duplicates(store: &PostgresStore, ids: &[Vec<Vec<u8>>]) -> Result<f64, Any> {
    let began = Instant::now();
    for ids in ids {
        let answers = store.claim(&requests(ids)?).await?;
        assert!(answers.iter().all(|answer| matches!(answer, Claimed::Done(_))));
    }
    Ok(began.elapsed().as_secs_f64())
}
