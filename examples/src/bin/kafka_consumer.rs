//! Wrap a Kafka consumer loop: `cargo run -p examples --bin kafka_consumer -- --help`

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ackonce_kafka::{ClientConfig, KafkaConsumer, OnMissing, Order};
use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use examples::admin::{Admin, Health};
use examples::{Flags, Missing};

/// Consumes a Kafka topic; each message takes effect once
#[derive(Debug, Parser)]
struct Args {
    /// Kafka's bootstrap servers
    #[arg(long, value_name = "LIST", default_value = "localhost:9092")]
    brokers: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    #[arg(long, default_value = "ackonce-example")]
    group: String,
    /// Any property of librdkafka; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    set: Vec<(String, String)>,
    /// Destination of messages that will never succeed [default: they are recorded only]
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<String>,
    /// A topic in which a message that failed waits for its next attempt, and how long; given again, the next one
    #[arg(long, value_name = "NAME=SECONDS", value_parser = retry_topic)]
    retry_topics: Vec<(String, Duration)>,
    /// Treatment of a message without an ID [default: the consumer's own]
    #[arg(long, value_enum)]
    on_missing: Option<Missing>,
    /// Which messages stay in order: those of one key, those of one partition, or none
    #[arg(long, value_enum, default_value_t = Keep::Partition)]
    order: Keep,
    /// Messages taken in and not settled [default: the consumer's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_in_flight: Option<u32>,
    /// Serve /metrics and /healthz at HOST:PORT, or at a port of the loopback interface
    #[arg(long, value_name = "ADDRESS", value_parser = examples::admin::address)]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Keep {
    Key,
    Partition,
    None,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn retry_topic(text: &str) -> Result<(String, Duration), String> {
    let (name, wait) =
        text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is NAME=SECONDS")?;
    let seconds = wait.parse().map_err(|_| format!("{wait:?} is no number of seconds"))?;
    let wait = Duration::try_from_secs_f64(seconds).map_err(|why| format!("{wait} seconds: {why}"))?;
    Ok((name.to_owned(), wait))
}

fn main() -> ExitCode {
    let args = Args::parse();
    examples::log();
    examples::run(consume(args))
}

async fn consume(args: Args) -> Result<()> {
    let shutdown = ackonce::shutdown_on_signals()?;
    let admin = Admin::start(args.admin).await?;
    let Args { brokers, topic, group, flags, .. } = &args;
    let scope = flags.scope(&format!("{group}/{topic}"))?;
    let store = flags.open(&shutdown).await?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group);
    for (name, value) in &args.set {
        config.set(name, value);
    }
    let mut consumer = KafkaConsumer::new(config, &[topic], &scope, store.deduplicator())
        .with_ids(flags.ids())
        .with_settings(flags.settings())
        .with_order(match args.order {
            Keep::Key => Order::Key,
            Keep::Partition => Order::Source,
            Keep::None => Order::Unordered,
        })
        .with_shutdown(shutdown);
    if let Some(topic) = &args.dead_letter {
        consumer = consumer.with_dead_letters(topic);
    }
    if let Some(missing) = args.on_missing {
        consumer = consumer.with_on_missing(match missing {
            Missing::Bury => OnMissing::Bury,
            Missing::Stop => OnMissing::Stop,
        });
    }
    if let Some(messages) = args.max_in_flight {
        consumer = consumer.with_max_in_flight(usize::try_from(messages)?);
    }
    if !args.retry_topics.is_empty() {
        consumer = consumer.with_retry_topics(args.retry_topics.clone());
    }
    admin.watch(health(&consumer));
    let ended = consumer.run(examples::handler(flags, &store).await?).await;
    let counts = ended.with_context(|| format!("consuming {topic} at {brokers} as {group}"))?;
    eprintln!("{counts:?}");
    Ok(())
}

fn health(consumer: &KafkaConsumer) -> impl Fn() -> Health + Send + Sync + 'static {
    let health = consumer.health();
    move || Health { live: health.is_live(), ready: health.is_ready(), report: health.report().to_string() }
}
