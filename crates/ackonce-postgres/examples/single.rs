#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "figures")]
use ackonce::{ClaimRequest, Claimed, Deduplicator, DeduplicatorExt, Scope, Settle, Settlement, Token};
use ackonce_postgres::{PostgresConfig, SchemaName, Sweep, Tables};
use std::time::{Duration, Instant};
#[tokio::main]
async fn main() {
    let url = std::env::var("ACKONCE_TEST_POSTGRES").unwrap();
    let schema = SchemaName::new(format!("million_s{}", std::process::id())).unwrap();
    let store = PostgresConfig::new(&url)
        .unwrap()
        .with_schema(schema)
        .with_tables(Tables::CreateMissing)
        .with_sweep(Sweep::Manual)
        .connect()
        .await
        .unwrap();
    let scope = Scope::new("example").unwrap();
    let hour = Duration::from_secs(3600);
    let request = |id: String| ClaimRequest {
        key: scope.key(id).unwrap(),
        token: Token::random(),
        lease: hour,
        window: hour,
        fingerprint: None,
    };
    for (batch, n) in [(1, 1500), (64, 400), (1000, 60)] {
        for what in ["new", "duplicates"] {
            let began = Instant::now();
            for k in 0..n {
                let requests: Vec<_> = (0..batch).map(|b| request(format!("{batch} {k} {b}"))).collect();
                let answers = store.claim(&requests).await.unwrap();
                let done = Settle::Complete { window: hour, outcome: None };
                let settlements: Vec<_> = answers
                    .iter()
                    .filter_map(|a| match a {
                        Claimed::Acquired(l) => Some(Settlement::new(l, done.clone())),
                        _ => None,
                    })
                    .collect();
                if !settlements.is_empty() {
                    store.settle(&settlements).await.unwrap();
                }
            }
            println!(
                "batch {batch:>5} {what:>11}: {:.1} us/message",
                began.elapsed().as_secs_f64() * 1e6 / f64::from(batch * n)
            );
        }
    }
    let _ = store.claim_one(request("x".into())).await;
}
