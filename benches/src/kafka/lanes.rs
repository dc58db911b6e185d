//! Partitions side by side: one lane and four, a thousand keys, slow handlers, one stuck message.
//!
//! The store is in memory, so that the intake and the runner decide. Rates are measured over a fixed time, in which no
//! arm comes to the end of its topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackonce::{CancellationToken, Context, Failure, Keyed, MemoryStore, Scope, Settings};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, Order};
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::topic::Topic;
use crate::harness::{Arm, Round, compare, settings};

#[derive(Args)]
pub(crate) struct Options {
    /// A cluster to bootstrap from; without one, librdkafka's cluster inside this process
    #[arg(long, env = "ACKONCE_TEST_KAFKA")]
    brokers: Option<String>,
    /// Length of each arm's turn
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Turns of each arm
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let topic =
        |partitions, messages| Topic::fill_partitions(options.brokers.as_deref(), partitions, messages);
    let (one, four, many) = (topic(1, 20_000)?, topic(4, 80_000)?, topic(4, 400_000)?);
    settings(
        json!({"seconds": options.seconds, "store": "in memory", "cores": std::thread::available_parallelism()?.get()}),
    );
    let bench = |topic, handler_ms, concurrency, order| Lanes {
        runtime: &runtime,
        topic,
        handler: Duration::from_millis(handler_ms),
        concurrency,
        order,
        stuck: false,
        time: Duration::from_secs_f64(options.seconds),
    };
    let lane = |topic| bench(topic, 5, 64, Order::Source);
    let arms = vec![
        lane(&one).arm("one partition").reference("one lane"),
        lane(&four).arm("four partitions"),
        lane(&four).stuck().arm("four partitions, the first message of one is stuck: the other three"),
    ];
    compare("Order::Source, handler takes 5 ms, 64 slots", options.rounds, arms)?;
    for handler_ms in [10, 50, 100] {
        for concurrency in [64, 2000] {
            let with = |order| bench(&many, handler_ms, concurrency, order);
            let arms = vec![
                Arm::timed("as many sleeping tasks, without a broker", move || with(Order::Unordered).bare())
                    .reference("the slots alone"),
                with(Order::Unordered).arm("no order"),
                with(Order::Key).arm("order per key, 1,000 keys"),
            ];
            compare(&format!("handler takes {handler_ms} ms, {concurrency} slots"), options.rounds, arms)?;
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Lanes<'a> {
    runtime: &'a Runtime,
    topic: &'a Topic,
    handler: Duration,
    concurrency: usize,
    order: Order,
    stuck: bool,
    time: Duration,
}

impl<'a> Lanes<'a> {
    fn stuck(self) -> Self {
        Self { stuck: true, ..self }
    }

    fn arm(self, name: &str) -> Arm<'a> {
        Arm::timed(name, move || self.measure())
    }

    /// From the first message on, for the time.
    fn measure(&self) -> anyhow::Result<Round> {
        let (group, shutdown) = (self.topic.group(), CancellationToken::new());
        let handled = Arc::new(AtomicUsize::new(0));
        let (count, work, stuck) = (handled.clone(), self.handler, self.stuck);
        let handler = Keyed(move |_: Context, message: KafkaMessage| {
            let count = count.clone();
            async move {
                if stuck && message.partition() == 0 && message.offset() == 0 {
                    return Err(Failure::infrastructure("the first message is stuck"));
                }
                tokio::time::sleep(work).await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<(), Failure>(())
            }
        });
        self.runtime.block_on(async {
            let scope = Scope::new(group.clone())?;
            let topics = [self.topic.name.as_str()];
            let store = Arc::new(MemoryStore::new());
            let consumer = KafkaConsumer::new(self.topic.config(&group), &topics, &scope, store)
                .with_settings(
                    Settings::default()
                        .with_concurrency(self.concurrency)
                        .with_shutdown_timeout(Duration::from_secs(1)),
                )
                .with_order(self.order.clone())
                .with_shutdown(shutdown.clone());
            let running = tokio::spawn(consumer.run(handler));
            while handled.load(Ordering::Relaxed) == 0 && !running.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (began, before) = (Instant::now(), handled.load(Ordering::Relaxed));
            tokio::time::sleep(self.time).await;
            let round = Round::of(handled.load(Ordering::Relaxed) - before, Some(began));
            shutdown.cancel();
            running.await??;
            Ok(round)
        })
    }

    /// The rate that so many handlers can have at most on this runtime.
    fn bare(&self) -> anyhow::Result<Round> {
        let handled = Arc::new(AtomicUsize::new(0));
        self.runtime.block_on(async {
            let began = Instant::now();
            let tasks: Vec<_> = (0..self.concurrency)
                .map(|_| {
                    let (handled, work) = (handled.clone(), self.handler);
                    tokio::spawn(async move {
                        loop {
                            tokio::time::sleep(work).await;
                            handled.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            tokio::time::sleep(self.time).await;
            let round = Round::of(handled.load(Ordering::Relaxed), Some(began));
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
            Ok(round)
        })
    }
}
