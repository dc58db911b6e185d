//! Something to consume: `cargo run -p examples --bin produce -- --topic orders --messages 20`, or on RabbitMQ
//! `cargo run -p examples --bin produce -- --queue orders --messages 20`

use std::process::ExitCode;
use std::time::Duration;

use ackonce::{CancellationToken, OnStart};
use ackonce_amqp::lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use ackonce_amqp::lapin::{BasicProperties, Confirmation};
use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use ackonce_kafka::rdkafka::client::DefaultClientContext;
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use ackonce_kafka::rdkafka::types::RDKafkaErrorCode;
use anyhow::{Context as _, bail};
use clap::{Parser, value_parser};
use examples::rabbitmq::{self, Servers};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// Records under way at once; their order stays.
const AT_ONCE: usize = 1000;

/// Publishes orders with their IDs, the same ones each time: to Kafka with the header message-id, or with --queue to
/// RabbitMQ with the property message_id
#[derive(Debug, Parser)]
struct Args {
    /// Kafka's bootstrap servers
    #[arg(long, value_name = "LIST", default_value = "localhost:9092")]
    brokers: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    /// RabbitMQ's URL
    #[arg(long, value_name = "URL", default_value = rabbitmq::URL, requires = "queue")]
    url: String,
    /// A queue of RabbitMQ, instead of a topic; declared, as a quorum queue, where it is missing
    #[arg(long, conflicts_with_all = ["brokers", "topic"])]
    queue: Option<String>,
    /// Number of messages
    #[arg(long, value_name = "N", default_value_t = 20)]
    messages: u32,
    /// The number of the first order
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u32,
    /// Publish them without an ID
    #[arg(long)]
    no_id: bool,
    /// Make the topic with so many partitions where it is missing [default: as the broker makes topics]
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(1..), conflicts_with = "queue")]
    partitions: Option<i32>,
    /// Publish to this partition [default: the key's]
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(0..), conflicts_with = "queue")]
    partition: Option<i32>,
}

struct Order {
    id: Option<String>,
    customer: String,
    json: String,
}

impl Args {
    fn orders(&self) -> impl Iterator<Item = Order> + use<> {
        let (first, no_id) = (self.first, self.no_id);
        (0..self.messages).map(move |n| {
            let n = u64::from(first) + u64::from(n);
            let (id, customer) = (format!("order-{n}"), format!("customer-{}", n % 7));
            let json = format!(r#"{{"id":"{id}","customer":"{customer}","cents":{}}}"#, n * 100);
            Order { id: (!no_id).then_some(id), customer, json }
        })
    }
}

fn main() -> ExitCode {
    examples::run(publish(Args::parse()))
}

async fn publish(args: Args) -> anyhow::Result<()> {
    let place = match &args.queue {
        Some(queue) => {
            to_rabbitmq(&args, queue)
                .await
                .with_context(|| format!("publishing to {queue} (--url, --queue)"))?;
            queue
        }
        None => {
            let Args { brokers, topic, .. } = &args;
            let doing = || format!("publishing to {topic} at {brokers} (--brokers, --topic)");
            to_kafka(&args).await.with_context(doing)?;
            topic
        }
    };
    println!("published {} messages to {place}", args.messages);
    Ok(())
}

async fn to_kafka(args: &Args) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.brokers).set("message.timeout.ms", "15000");
    if let Some(partitions) = args.partitions {
        make_topic(&config, &args.topic, partitions).await?;
    }
    let producer: FutureProducer = config.create()?;
    let sent = stream::iter(args.orders()).map(|Order { id, customer, json }| {
        let producer = producer.clone();
        async move {
            let mut record = FutureRecord::to(&args.topic).key(&customer).payload(&json);
            if let Some(id) = &id {
                let header = Header { key: "message-id", value: Some(id) };
                record = record.headers(OwnedHeaders::new().insert(header));
            }
            if let Some(partition) = args.partition {
                record = record.partition(partition);
            }
            producer.send(record, Duration::from_secs(15)).await.map(drop).map_err(|(error, _)| error)
        }
    });
    Ok(sent.buffered(AT_ONCE).try_collect().await?)
}

async fn make_topic(config: &ClientConfig, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    // Replicated as the broker replicates topics.
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(15)));
    match admin.create_topics(&[topic], &options).await?.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((topic, why))) => bail!("making the topic {topic}: {why}"),
    }
}

async fn to_rabbitmq(args: &Args, queue: &str) -> anyhow::Result<()> {
    let servers = Servers::new(vec![args.url.clone()])?;
    servers.declare_missing(OnStart::End, &CancellationToken::new(), queue, None).await?;
    let connection = servers.connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let key = rabbitmq::name(queue)?;
    for Order { id, json, .. } in args.orders() {
        let mut properties = BasicProperties::default().with_delivery_mode(2);
        if let Some(id) = id {
            properties = properties.with_message_id(id.into());
        }
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
