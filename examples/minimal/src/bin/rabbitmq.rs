//! A RabbitMQ consumer: each message of the queue `orders` takes effect once.

use std::env::var;
use std::error::Error;
use std::sync::Arc;

use ackonce::{Context, Keyed, Scope};
use ackonce_amqp::{AmqpConsumer, AmqpMessage};
use ackonce_sqlite::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let url = var("AMQP_URL").unwrap_or("amqp://guest:guest@localhost:5672/%2f".into());
    let queue = var("QUEUE").unwrap_or("orders".into());
    // Two scopes never share a record: the application, and the handler.
    let scope = Scope::new("billing/charge-card")?;
    let store = Arc::new(SqliteStore::open("dedup.db")?);
    AmqpConsumer::new(&url, &queue, &scope, store)
        .with_shutdown(ackonce::shutdown_on_signals()?)
        .run(Keyed(|cx: Context, order: AmqpMessage| async move {
            charge(&order, &cx.idempotency_key("charge")).await?;
            Ok(())
        }))
        .await?;
    Ok(())
}

/// Calls the payment service, which refuses to charge twice under one key.
async fn charge(order: &AmqpMessage, key: &str) -> Result<(), std::io::Error> {
    println!("charged {} under {key}", String::from_utf8_lossy(order.payload()));
    Ok(())
}
