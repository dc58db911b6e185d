//! Two hundred times kill -9 for each inbox: nothing is lost, nothing doubled, the balance adds up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use ackonce::Class;
use ackonce_tests::acceptance::Outcome;
use ackonce_tests::books::Books;
use ackonce_tests::drivers::Driver;
use ackonce_tests::inbox::{POINTS, run};

const KILLS: usize = 200;

/// One run at a time: they would take the two cores from each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn crash(books: Books, kills: usize, every: Duration, seed: u64) -> Outcome {
    let _alone = ALONE.lock().await;
    let outcome = run(books, kills, every, seed).await;
    let Outcome { audit, history, balance } = &outcome;
    println!(
        "{} published, {} unique, {} effects, balance {balance:?}, lost {}, doubled {}; {} kills at random, at points {:?}",
        audit.published,
        audit.unique,
        audit.effects,
        audit.lost.len(),
        audit.doubled.len(),
        history.kills(),
        history.points(),
    );
    assert!(history.kills() > 0 && history.kills() + history.crashes() >= kills);
    assert_eq!(history.points().len(), POINTS.len(), "each point was met");
    outcome
}

async fn exactly_once(books: Books, every: Duration, seed: u64) {
    let Outcome { audit, balance, .. } = crash(books, KILLS, every, seed).await;
    audit.keeps(Class::Inbox).unwrap();
    assert_eq!(balance, Some(audit.unique), "the balance adds up");
}

#[tokio::test]
async fn sqlite_keeps_effect_and_record_together() {
    let dir = tempfile::tempdir().unwrap();
    exactly_once(Books::Sqlite(dir.path().join("app.db")), Duration::from_millis(50), 1).await;
}

async fn on_server(driver: Driver, seed: u64) {
    let Some(url) = ackonce_tests::books::server() else { return };
    let schema = format!("inbox {seed} {}", std::process::id());
    exactly_once(Books::Postgres { url, schema, driver }, Duration::from_millis(100), seed).await;
}

#[tokio::test]
async fn postgres_keeps_effect_and_record_together() {
    on_server(Driver::Postgres, 2).await;
}

#[tokio::test]
async fn sqlx_keeps_effect_and_record_together() {
    on_server(Driver::Sqlx, 4).await;
}

#[tokio::test]
async fn seaorm_keeps_effect_and_record_together() {
    on_server(Driver::SeaOrm, 5).await;
}

#[tokio::test]
async fn diesel_keeps_effect_and_record_together() {
    on_server(Driver::Diesel, 6).await;
}

/// The control: the same kills, an effect beside the record, and what was killed between the two is done twice.
#[tokio::test]
async fn an_effect_beside_its_record_is_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::Apart { store: dir.path().join("app.db"), ledger: dir.path().join("ledger.jsonl") };
    let audit = crash(books, KILLS / 4, Duration::from_millis(50), 3).await.audit;
    assert!(!audit.doubled.is_empty(), "was anything killed?");
    audit.keeps(Class::Leased).unwrap();
}
