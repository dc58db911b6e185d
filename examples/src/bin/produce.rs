//! Something to consume: `cargo run -p examples --bin produce -- --topic orders --messages 20`, or on RabbitMQ
//! `cargo run -p examples --bin produce -- --queue orders --messages 20`

use std::time::Duration;

use ackonce_amqp::lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use ackonce_amqp::lapin::{BasicProperties, Confirmation};
use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use anyhow::{Context as _, bail};
use clap::Parser;
use examples::rabbitmq;

/// Publishes orders with their IDs, the same ones each time: to Kafka with the header message-id, or with --queue to
/// RabbitMQ with the property message_id
#[derive(Debug, Parser)]
struct Args {
    /// Where Kafka is
    #[arg(long, value_name = "LIST", default_value = "localhost:9092")]
    brokers: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    /// Where RabbitMQ is
    #[arg(long, value_name = "URL", default_value = rabbitmq::URL, requires = "queue")]
    url: String,
    /// A queue of RabbitMQ, instead of a topic; declared, as a quorum queue, where it is missing
    #[arg(long, conflicts_with_all = ["brokers", "topic"])]
    queue: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    messages: u32,
}

struct Order {
    id: String,
    customer: String,
    json: String,
}

fn order(n: u32) -> Order {
    let (id, customer) = (format!("order-{n}"), format!("customer-{}", n % 7));
    let json = format!(r#"{{"id":"{id}","customer":"{customer}","cents":{}}}"#, n * 100);
    Order { id, customer, json }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { brokers, topic, url, queue, messages } = Args::parse();
    let orders = (1..=messages).map(order);
    let place = match queue {
        Some(queue) => {
            to_rabbitmq(&url, &queue, orders).await?;
            queue
        }
        None => {
            to_kafka(&brokers, &topic, orders).await?;
            topic
        }
    };
    println!("published {messages} messages to {place}");
    Ok(())
}

async fn to_kafka(brokers: &str, topic: &str, orders: impl Iterator<Item = Order>) -> anyhow::Result<()> {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("message.timeout.ms", "15000").create()?;
    for Order { id, customer, json } in orders {
        let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
        let record = FutureRecord::to(topic).key(&customer).payload(&json).headers(headers);
        let sent = producer.send(record, Duration::from_secs(15)).await.map_err(|(error, _)| error);
        sent.with_context(|| format!("publishing to {topic} at {brokers} (--brokers, --topic)"))?;
    }
    Ok(())
}

async fn to_rabbitmq(url: &str, queue: &str, orders: impl Iterator<Item = Order>) -> anyhow::Result<()> {
    rabbitmq::declare_missing(url, queue, None).await?;
    let connection = rabbitmq::connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let key = rabbitmq::name(queue)?;
    for Order { id, json, .. } in orders {
        let properties = BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2);
        let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
        let publish = channel.basic_publish("".into(), key.clone(), mandatory, json.as_bytes(), properties);
        // One that reaches no queue is confirmed as well, with the message.
        match publish.await?.await? {
            Confirmation::Ack(None) => {}
            other => bail!("RabbitMQ did not take a message for {queue}: {other:?}"),
        }
    }
    Ok(connection.close(200, "OK".into()).await?)
}
