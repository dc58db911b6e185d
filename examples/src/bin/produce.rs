//! Something to consume: `cargo run -p examples --bin produce -- --topic orders --messages 20`

use std::time::Duration;

use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use anyhow::Context as _;
use clap::Parser;

/// Publishes orders with their IDs in the header message-id; the same ones each time
#[derive(Debug, Parser)]
struct Args {
    /// Where Kafka is
    #[arg(long, value_name = "LIST", default_value = "localhost:9092")]
    brokers: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    messages: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { brokers, topic, messages } = Args::parse();
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("message.timeout.ms", "15000").create()?;
    for n in 1..=messages {
        let (id, key) = (format!("order-{n}"), format!("customer-{}", n % 7));
        let payload = format!(r#"{{"id":"{id}","customer":"{key}","cents":{}}}"#, n * 100);
        let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
        let record = FutureRecord::to(&topic).key(&key).payload(&payload).headers(headers);
        let sent = producer.send(record, Duration::from_secs(15)).await.map_err(|(error, _)| error);
        sent.with_context(|| format!("publishing to {topic} at {brokers} (--brokers, --topic)"))?;
    }
    println!("published {messages} messages to {topic}");
    Ok(())
}
