//! Wrap a Kafka consumer loop: `cargo run -p examples --bin kafka_consumer -- --help`

use ackonce::{Context, Keyed};
use ackonce_kafka::{ClientConfig, KafkaConsumer, Message, Order};
use ackonce_sqlite::InboxTx;
use clap::Parser;
use examples::{Flags, HandlerClass, ToFile, ToTable};

/// Consumes a Kafka topic; each message takes effect once
#[derive(Debug, Parser)]
struct Args {
    /// Where Kafka is
    #[arg(long, value_name = "LIST", default_value = "localhost:9092")]
    brokers: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    #[arg(long, default_value = "ackonce-example")]
    group: String,
    /// Where messages go that will never succeed [default: they are recorded only]
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<String>,
    /// Whose messages stay in order: those of one key, or of one partition
    #[arg(long, default_value = "partition", value_parser = ["key", "partition"])]
    order: String,
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { brokers, topic, group, dead_letter, order, flags } = Args::parse();
    examples::log();
    let shutdown = ackonce::shutdown_on_signals()?;
    let store = flags.open().await?;
    let scope = flags.scope(&format!("{group}/{topic}"))?;
    let config = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).clone();
    let mut consumer = KafkaConsumer::new(config, &[&topic], &scope, store.deduplicator())
        .with_ids(flags.ids())
        .with_settings(flags.settings())
        .with_order(if order == "key" { Order::Key } else { Order::Partition })
        .with_shutdown(shutdown);
    if let Some(topic) = dead_letter {
        consumer = consumer.with_dead_letters(topic);
    }
    let counts = if flags.class == HandlerClass::Inbox {
        let (effect, sqlite) = ToTable::new(&flags, &store)?;
        let inbox = sqlite.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &Message| effect.apply(tx, cx));
        consumer.run(effect.delayed(inbox.with_window(flags.window()))).await?
    } else {
        let effect = ToFile::new(&flags)?;
        let handler = move |cx: Context, _: Message| effect.clone().apply(cx);
        match flags.class {
            HandlerClass::Keyed => consumer.run(Keyed(handler)).await?,
            _ => consumer.run(handler).await?,
        }
    };
    eprintln!("{counts:?}");
    Ok(())
}
