//! A RabbitMQ queue read by a bare consumer, by loops as one writes them by hand, and through Ackonce.

mod by_hand;
pub(crate) mod queue;
mod wrapped;

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::awake::Awake;
use crate::harness::{Arm, compare, settings};
use crate::stores::{Kind, Place, Stores};
use queue::Queues;
use wrapped::Wrapped;

#[derive(Args)]
pub(crate) struct Options {
    /// The RabbitMQ, as amqp://user:password@host:port/%2f
    #[arg(long, env = "ACKONCE_TEST_AMQP")]
    url: String,
    #[command(flatten)]
    stores: Stores,
    /// Messages of 200 bytes on the queue, all of which each arm reads; loops by hand read a twentieth
    #[arg(long, default_value_t = 60_000)]
    messages: usize,
    /// Turns of each arm
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Time that the handler works on each message or batch
    #[arg(long, default_value_t = 0)]
    work_ms: u64,
    /// Messages that the broker sends ahead of their acks
    #[arg(long, default_value_t = 1000)]
    prefetch: u16,
    /// Keep the cores awake meanwhile: loops that take one message at a time are faster then
    #[arg(long)]
    busy: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let queues = runtime.block_on(Queues::connect(&options.url, options.prefetch))?;
    settings(json!({
        "messages": options.messages,
        "bytes each": queue::BODY.len(),
        "queue": "classic, durable, persistent messages",
        "prefetch": options.prefetch,
        "handler ms": options.work_ms,
        "cores": std::thread::available_parallelism()?.get(),
        "cores kept awake": options.busy,
    }));
    let _awake = options.busy.then(Awake::start).transpose()?;
    let bench = Bench {
        options,
        runtime: &runtime,
        queues: &queues,
        work: Duration::from_millis(options.work_ms),
        few: (options.messages / 20).max(100),
    };
    let (_directory, places) = options.stores.open(&runtime)?;
    places.into_iter().try_for_each(|place| bench.compare(place))
}

struct Bench<'a> {
    options: &'a Options,
    runtime: &'a Runtime,
    queues: &'a Queues,
    work: Duration,
    few: usize,
}

impl Bench<'_> {
    /// By hand first, so that ratios are to the loop that one would write; then the bare loops, and Ackonce.
    fn compare(&self, mut place: Place) -> anyhow::Result<()> {
        let (queues, runtime, all, work) = (self.queues, self.runtime, self.options.messages, self.work);
        let title = self.title(&place);
        let mut arms = Vec::new();
        if let Some(by_hand) = &mut place.by_hand {
            arms.push(
                Arm::timed("by hand: claim, done and ack each", move || {
                    runtime.block_on(by_hand::each(queues, self.few, Some(by_hand), work))
                })
                .reference("by hand"),
            );
        }
        if matches!(place.kind, Kind::Memory) {
            arms.push(Arm::timed("bare: ack each", move || {
                runtime.block_on(by_hand::each(queues, self.few, None, work))
            }));
        }
        if work.is_zero() {
            arms.push(
                Arm::timed("bare: ack in batches", move || runtime.block_on(by_hand::bare(queues, all)))
                    .reference("bare"),
            );
        }
        let wrapped = Wrapped { queues, runtime, store: place.store.clone(), work };
        let each = wrapped.clone();
        arms.push(Arm::timed("ackonce, keyed, one at a time, 64 at once", move || each.each(all)));
        let batches = wrapped.clone();
        arms.push(Arm::timed("ackonce, keyed, batches", move || batches.batches(all)));
        let at_most_once = wrapped.clone();
        arms.push(Arm::timed("ackonce, at most once, batches", move || at_most_once.at_most_once(all)));
        if let (Some(inbox), true) = (place.inbox.clone(), work.is_zero()) {
            arms.push(Arm::timed("ackonce, inbox with one insert", move || wrapped.inbox(&inbox, all)));
        }
        compare(&title, self.options.rounds, arms)
    }

    fn title(&self, place: &Place) -> String {
        let mut title = format!("RabbitMQ, {}", place.name);
        if !self.work.is_zero() {
            title += &format!(", handler takes {} ms", self.options.work_ms);
        }
        if self.options.busy {
            title += ", cores kept awake";
        }
        title
    }
}
