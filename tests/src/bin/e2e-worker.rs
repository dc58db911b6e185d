//! The consumer process of the tests. A payload names its message's behaviour: `ok`, `abort`, `fail`,
//! `fail-until:ATTEMPT`, or `hold:PATH`, which waits while that file exists.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Backoff, Context, Failure, IdSource, MessageIds, Scope, Settings};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage, Order, RetryTopic};
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::lines::Writer;
use anyhow::Context as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_default())
        .init();
    let plan: serde_json::Value = serde_json::from_str(&std::env::args().nth(1).context("no plan")?)?;
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", text("brokers"))
        .set("group.id", text("group"))
        .set("topic.metadata.refresh.interval.ms", "1000");
    match &*text("assignor") {
        "" => config.set("group.protocol", "consumer"),
        assignor => config
            .set("session.timeout.ms", "2000")
            .set("heartbeat.interval.ms", "300")
            .set("partition.assignment.strategy", assignor),
    };
    if let Some(instance) = plan["instance"].as_str() {
        config.set("group.instance.id", instance);
    }
    let store = Arc::new(SqliteStore::open(text("db"))?);
    let number = |name: &str| plan[name].as_u64().unwrap_or(1);
    let settings = Settings::default()
        .with_lease(Duration::from_secs(2))
        .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) })
        .with_attempts(u32::try_from(number("attempts"))?)
        .with_concurrency(usize::try_from(number("concurrency"))?);
    let order = if plan["order"] == "key" { Order::Key } else { Order::Source };
    let scope = Scope::new(text("group"))?;
    let mut consumer = KafkaConsumer::new(config, &[&text("topic")], &scope, store)
        .with_ids(MessageIds::first_of([IdSource::Header("message-id".into()), IdSource::Coordinates]))
        .with_settings(settings)
        .with_order(order)
        .with_shutdown(ackonce::shutdown_on_signals()?);
    if let Some(topic) = plan["dead_letters"].as_str() {
        consumer = consumer.with_dead_letters(topic);
    }
    consumer = consumer.with_commit_interval(Duration::from_millis(number("commit_interval")));
    let topics = plan["retry_topics"].as_array().into_iter().flatten();
    let topics = topics.map(|topic| {
        let delay = Duration::from_millis(topic[1].as_u64().unwrap_or_default());
        RetryTopic::new(topic[0].as_str().unwrap_or_default(), delay)
    });
    consumer = consumer.with_retry_topics(topics.collect::<Vec<_>>());
    let effects = text("effects");
    let handler = move |cx: Context, message: KafkaMessage| {
        let effects = effects.clone();
        async move { obey(&cx, &message, Path::new(&effects)).await }
    };
    consumer.run(handler).await?;
    Ok(())
}

async fn obey(cx: &Context, message: &KafkaMessage, effects: &Path) -> Result<(), Failure> {
    let order = String::from_utf8_lossy(message.payload()).into_owned();
    if let Some(file) = order.strip_prefix("hold:") {
        while Path::new(file).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    if let Some(attempt) = order.strip_prefix("fail-until:")
        && cx.attempt() < attempt.parse()?
    {
        return Err("not yet".into());
    }
    match order.as_str() {
        "abort" => std::process::abort(),
        "fail" => return Err("told to fail".into()),
        _ => {}
    }
    let id = message.header("message-id").map_or_else(
        || format!("{}@{}", message.partition(), message.offset()),
        |id| String::from_utf8_lossy(id).into_owned(),
    );
    Writer::open(effects)?.append(format!("{id} {} {}", cx.attempt(), std::process::id()))?;
    Ok(())
}
