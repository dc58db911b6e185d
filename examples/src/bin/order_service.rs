//! An order service with inbox and outbox: `cargo run -p examples --bin order_service -- --brokers localhost:9092`
//!
//! Takes orders from the topic `orders`, books each in SQLite once, and announces it on the topic `placed`, with the commit.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ackonce::{Context, Failure, Scope};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage, KafkaPublisher};
use ackonce_outbox::{Outgoing, SqliteOutbox};
use ackonce_sqlite::{InboxTx, SqliteStore};
use clap::Parser;

/// Books orders of a Kafka topic, and announces each on another
#[derive(Parser)]
struct Args {
    /// Kafka's bootstrap servers
    #[arg(long, value_name = "LIST", default_value = "localhost:9092")]
    brokers: String,
    /// The database
    #[arg(long, default_value = "orders.db")]
    file: PathBuf,
}

fn main() -> ExitCode {
    examples::log();
    examples::run(serve(Args::parse()))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let shutdown = ackonce::shutdown_on_signals()?;
    let store = SqliteStore::open(args.file)?;
    let table = "CREATE TABLE IF NOT EXISTS orders (body BLOB NOT NULL)";
    store.write(move |tx| tx.execute_batch(table)).await?;
    let outbox = SqliteOutbox::open(&store).await?.with_shutdown(shutdown.clone());

    let publishing = SqliteOutbox::open(&store).await?;
    let book = store.inbox(move |tx: &InboxTx<'_>, _cx: &Context, order: &KafkaMessage| {
        tx.execute("INSERT INTO orders (body) VALUES (?1)", [order.payload()])?;
        let customer = order.key().unwrap_or_default().to_vec();
        publishing.publish(tx, &Outgoing::new("placed", order.payload().to_vec()).with_key(customer))?;
        Ok::<_, Failure>(())
    });

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", args.brokers);
    let publisher = KafkaPublisher::new(config.clone(), "order-service")?;
    config.set("group.id", "order-service");
    let consumer =
        KafkaConsumer::new(config, &["orders"], &Scope::new("order-service/book")?, Arc::new(store))
            .with_shutdown(shutdown);
    let (booked, relayed) = tokio::try_join!(consumer.run(outbox.waking(book)), outbox.run(publisher))?;
    eprintln!("{booked:?}\n{relayed:?}");
    Ok(())
}
