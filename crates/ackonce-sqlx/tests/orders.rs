//! The example, against PostgreSQL and librdkafka's mock cluster. The suite of inbox, guard and outbox is `tests/tests/drivers`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::{Duration, Instant};

use ackonce::CancellationToken;
use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_kafka::rdkafka::mocking::MockCluster;
use ackonce_kafka::rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use ackonce_sqlx::sqlx::{self, AssertSqlSafe, PgPool};

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/orders.rs"]
mod example;

const ORDERS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn each_order_takes_one_piece_and_is_announced_once() {
    let Some(server) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    let name = format!("orders_{}", std::process::id());
    let maintenance = PgPool::connect(&server).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&maintenance).await.unwrap();
    let database = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let mock: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    ["orders", "placed"].iter().for_each(|topic| mock.create_topic(topic, 2, 1).unwrap());
    let brokers = mock.bootstrap_servers();
    deliver_three_times(&brokers).await;

    let shutdown = CancellationToken::new();
    let (url, servers, stop) = (database.clone(), brokers.clone(), shutdown.clone());
    let service = tokio::spawn(async move { example::serve(&url, &servers, stop).await });
    let placed: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    placed.subscribe(&["placed"]).unwrap();
    let (mut announced, end) = (0, Instant::now() + Duration::from_secs(120));
    while announced < ORDERS {
        assert!(Instant::now() < end && !service.is_finished(), "{announced} announced");
        announced += placed.poll(Duration::from_millis(50)).map_or(0, |message| message.map(|_| 1).unwrap());
        tokio::task::yield_now().await;
    }
    assert!(placed.poll(Duration::from_secs(1)).is_none(), "nothing more");
    shutdown.cancel();
    service.await.unwrap().unwrap();
    let pool = PgPool::connect(&database).await.unwrap();
    let left: (i64, i64) = sqlx::query_as("SELECT pieces, (SELECT count(*) FROM orders) FROM stock")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(left, (20, 10));
}

async fn deliver_three_times(brokers: &str) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for delivery in 0..3 * ORDERS {
        let id = (delivery % ORDERS).to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
        let record = FutureRecord::to("orders").key("book").payload("book").headers(headers);
        producer.send(record, Duration::from_secs(60)).await.unwrap();
    }
}
