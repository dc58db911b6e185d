//! A Kafka consumer: each message of the topic `orders` takes effect once.

use std::env::var;
use std::error::Error;
use std::sync::Arc;

use ackonce::{Context, IdSource, Keyed, MessageIds, Scope};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage};
use ackonce_sqlite::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let topic = var("TOPIC").unwrap_or("orders".into());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", var("BROKERS").unwrap_or("localhost:9092".into()));
    config.set("group.id", "billing").set("auto.offset.reset", "earliest");
    // Two scopes never share a record: the application, and the handler.
    let scope = Scope::new("billing/charge-card")?;
    let store = Arc::new(SqliteStore::open("dedup.db")?);
    KafkaConsumer::new(config, &[&topic], &scope, store)
        .with_ids(MessageIds::first_of([IdSource::Header("message-id".into())]))
        .with_shutdown(ackonce::shutdown_on_signals()?)
        .run(Keyed(|cx: Context, order: KafkaMessage| async move {
            charge(&order, &cx.idempotency_key("charge")).await?;
            Ok(())
        }))
        .await?;
    Ok(())
}

/// Calls the payment service, which refuses to charge twice under one key.
async fn charge(order: &KafkaMessage, key: &str) -> Result<(), std::io::Error> {
    println!("charged {} under {key}", String::from_utf8_lossy(order.payload()));
    Ok(())
}
