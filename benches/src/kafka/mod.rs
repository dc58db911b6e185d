//! A Kafka topic read by a bare loop, by loops as one writes them by hand, and through Ackonce.

mod by_hand;
pub(crate) mod lanes;
mod store_alone;
pub(crate) mod topic;
mod wrapped;

use std::time::Duration;

use ackonce_kafka::rdkafka;
use clap::Args;
use redis::aio::MultiplexedConnection;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::awake::Awake;
use crate::harness::{Arm, compare, settings};
use crate::stores::{Kind, Place, Stores};
use topic::Topic;
use wrapped::Wrapped;

#[derive(Args)]
pub(crate) struct Options {
    /// A cluster to bootstrap from; without one, librdkafka's cluster inside this process
    #[arg(long, env = "ACKONCE_TEST_KAFKA")]
    brokers: Option<String>,
    /// That cluster inside this process, even if there is another
    #[arg(long)]
    in_process: bool,
    #[command(flatten)]
    stores: Stores,
    /// Messages of 200 bytes on the topic, all of which each arm reads; loops by hand read some
    /// hundreds
    #[arg(long, default_value_t = 300_000)]
    messages: usize,
    /// Turns of each arm
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Time that the handler works on each message or batch
    #[arg(long, default_value_t = 0)]
    work_ms: u64,
    /// Keep the cores awake meanwhile: loops that take one message at a time are faster then
    #[arg(long)]
    busy: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let brokers = options.brokers.as_deref().filter(|_| !options.in_process);
    let topic = Topic::fill(brokers, options.messages)?;
    settings(json!({
        "messages": options.messages,
        "bytes each": topic::BODY.len(),
        "partitions": topic::PARTITIONS,
        "cluster": if brokers.is_some() { "Kafka" } else { "in this process" },
        "librdkafka": rdkafka::util::get_rdkafka_version().1,
        "handler ms": options.work_ms,
        "cores": std::thread::available_parallelism()?.get(),
        "cores kept awake": options.busy,
    }));
    let _awake = options.busy.then(Awake::start).transpose()?;
    let bench = Bench {
        options,
        topic: &topic,
        runtime: &runtime,
        work: Duration::from_millis(options.work_ms),
        // Since 4.0 a broker waits 5 ms for more before it writes a commit (group.coordinator.append.linger.ms).
        few: (options.messages / if brokers.is_some() { 400 } else { 100 }).max(100),
    };
    let (_directory, places) = options.stores.open(&runtime)?;
    places.into_iter().try_for_each(|place| bench.compare(place))
}

struct Bench<'a> {
    options: &'a Options,
    topic: &'a Topic,
    runtime: &'a Runtime,
    work: Duration,
    few: usize,
}

impl Bench<'_> {
    /// By hand first, so that ratios are to the loop that one would write; then the bare loop, and Ackonce.
    fn compare(&self, mut place: Place) -> anyhow::Result<()> {
        let (topic, runtime, all, work) = (self.topic, self.runtime, self.topic.messages, self.work);
        let title = self.title(&place);
        let mut arms = Vec::new();
        if let Some(by_hand) = &mut place.by_hand {
            arms.push(
                Arm::timed("by hand: claim, done and commit each", move || {
                    by_hand::each(runtime, topic, self.few, by_hand, work)
                })
                .reference("by hand"),
            );
        }
        if let (Kind::Redis, true) = (place.kind, work.is_zero()) {
            let mut redis = self.redis()?;
            arms.push(Arm::timed("by hand: bare SET NX, done and commit per 1000", move || {
                by_hand::in_batches(runtime, topic, all, &mut redis)
            }));
        }
        // One at a time it takes its handler's time and no more: two thousand messages tell.
        let read = if work.is_zero() { all } else { all.min(2000) };
        let bare = Arm::timed("bare: one commit per 1000", move || by_hand::bare(topic, read, work));
        arms.push(bare.reference("bare"));
        if work.is_zero() {
            let store = place.store.clone();
            arms.push(
                Arm::timed("the store alone: claims and settlements of 1000", move || {
                    store_alone::run(runtime, &store, topic.group(), all)
                })
                .reference("the store"),
            );
        }
        let wrapped = Wrapped { topic, runtime, store: place.store.clone(), work };
        let each = wrapped.clone();
        arms.push(Arm::timed("ackonce, keyed, one at a time, 64 at once", move || each.each(all)));
        let batches = wrapped.clone();
        arms.push(Arm::timed("ackonce, keyed, batches of 1000", move || batches.batches(all)));
        let at_most_once = wrapped.clone();
        arms.push(Arm::timed("ackonce, at most once, batches of 1000", move || {
            at_most_once.at_most_once(all)
        }));
        if let (Some(inbox), true) = (place.inbox.clone(), work.is_zero()) {
            arms.push(Arm::timed("ackonce, inbox with one insert", move || wrapped.inbox(&inbox, all)));
        }
        compare(&title, self.options.rounds, arms)
    }

    fn title(&self, place: &Place) -> String {
        let mut title = format!("Kafka, {}", place.name);
        if self.options.in_process {
            title += ", cluster in this process";
        }
        if !self.work.is_zero() {
            title += &format!(", handler takes {} ms", self.options.work_ms);
        }
        if self.options.busy {
            title += ", cores kept awake";
        }
        title
    }

    fn redis(&self) -> anyhow::Result<MultiplexedConnection> {
        let client = redis::Client::open(self.options.stores.redis.clone().unwrap_or_default())?;
        Ok(self.runtime.block_on(client.get_multiplexed_async_connection())?)
    }
}
