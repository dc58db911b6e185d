//! The outbox from one consumer to another, with kills and pauses of all processes and outages of the broker: every
//! message takes effect once, in order per key.
//!
//! `ACKONCE_OUTBOX_KILLS` scales each run: kills and pauses together (default 40; the acceptance asks for 300).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use ackonce_tests::acceptance::scaled;
use ackonce_tests::amqp::Rabbit;
use ackonce_tests::books::{Books, server};
use ackonce_tests::drivers::Driver;
use ackonce_tests::kafka::Kafka;
use ackonce_tests::outbox::{TestBroker, Way, run};

/// There is one broker of each kind to take down, and two cores.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn survive(broker: TestBroker, books: Books, way: Way, seed: u64) {
    let _alone = ALONE.lock().await;
    let kills = scaled("ACKONCE_OUTBOX_KILLS", 40);
    let outcome = run(broker, books, way, kills, seed).await;
    let history = &outcome.history;
    println!(
        "{} orders, {} events; {} kills at random, {} at points {:?}, {} pauses, {} outages",
        outcome.orders.len(),
        outcome.events.len(),
        history.kills(),
        history.crashes(),
        history.points(),
        history.pauses(),
        outcome.outages,
    );
    assert!(history.kills() > 0 && history.crashes() > 0 && outcome.outages > 0);
    outcome.assert_once_and_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgres_over_kafka() {
    let (Some(kafka), Some(url)) = (Kafka::real(), server()) else { return };
    let schema = format!("outbox {}", std::process::id());
    let books = Books::Postgres { url, schema, driver: Driver::Postgres };
    survive(TestBroker::Kafka(kafka), books, Way::Broker, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_over_rabbitmq() {
    let Some(rabbit) = Rabbit::real() else { return };
    let dir = tempfile::tempdir().unwrap();
    survive(TestBroker::Rabbit(rabbit), Books::Sqlite(dir.path().join("app.db")), Way::Broker, 2).await;
}

/// The service is away whenever it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_to_a_service() {
    let Some(rabbit) = Rabbit::real() else { return };
    let dir = tempfile::tempdir().unwrap();
    survive(TestBroker::Rabbit(rabbit), Books::Sqlite(dir.path().join("app.db")), Way::Http, 3).await;
}
