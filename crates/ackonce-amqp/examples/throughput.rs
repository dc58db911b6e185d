//! What Ackonce costs: a bare lapin consumer that acknowledges in batches against `AmqpConsumer` on the in-memory
//! store, with an empty handler and the same prefetch, turn by turn on one broker.
//!
//! ```sh
//! scripts/servers run rabbitmq -- cargo run --release -p ackonce-amqp --example throughput
//! ```
//! Needs `ACKONCE_TEST_AMQP`, or the URL as first argument; then messages per turn (100000), turns (5), prefetch
//! (1000).
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark that cannot go on should panic"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackonce::{CancellationToken, Context, Failure, Item, MemoryStore, Scope, Settings};
use ackonce_amqp::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use ackonce_amqp::lapin::types::FieldTable;
use ackonce_amqp::lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use ackonce_amqp::{AmqpConsumer, Message};
use futures_util::{FutureExt, StreamExt};

const BODY: [u8; 200] = [b'x'; 200];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Bare,
    Each,
    Batch,
}

struct Bench {
    url: String,
    queue: String,
    messages: usize,
    prefetch: u16,
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().or_else(|| std::env::var("ACKONCE_TEST_AMQP").ok()).unwrap();
    let mut number = |default: usize| args.next().map_or(default, |n| n.parse().unwrap());
    let (messages, turns, prefetch) = (number(100_000), number(5), number(1000));
    let queue = format!("ackonce-throughput-{}", std::process::id());
    let bench = Bench { url, queue, messages, prefetch: u16::try_from(prefetch).unwrap() };
    println!("{messages} messages of {} bytes, prefetch {prefetch}, {turns} turns", BODY.len());
    let mut rates: Vec<[f64; 3]> = Vec::new();
    for turn in 0..turns {
        let mut all = [0.0; 3];
        // The order alternates, so that a machine that slows down favours nobody.
        let mut arms = [Arm::Bare, Arm::Each, Arm::Batch];
        if turn % 2 == 1 {
            arms.reverse();
        }
        for arm in arms {
            all[arm as usize] = bench.turn(arm).await;
        }
        println!(
            "turn {}: bare {:.0}/s, run {:.0}/s ({:.2}), run_batch {:.0}/s ({:.2})",
            turn + 1,
            all[0],
            all[1],
            all[1] / all[0],
            all[2],
            all[2] / all[0]
        );
        rates.push(all);
    }
    let median = |pick: &dyn Fn(&[f64; 3]) -> f64| {
        let mut all: Vec<_> = rates.iter().map(pick).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("median: bare lapin, ack in batches     {:>8.0} messages/s", median(&|r| r[0]));
    println!("        ackonce run, memory store       {:>8.0} messages/s", median(&|r| r[1]));
    println!("        ackonce run_batch, memory store {:>8.0} messages/s", median(&|r| r[2]));
    println!(
        "ratio of a turn, median: run {:.2}, run_batch {:.2}",
        median(&|r| r[1] / r[0]),
        median(&|r| r[2] / r[0])
    );
}

impl Bench {
    /// Fills the queue, empties it, and answers messages per second from the first to the last ack.
    async fn turn(&self, arm: Arm) -> f64 {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        self.fill(&channel).await;
        let time = match arm {
            Arm::Bare => self.bare(&connection).await,
            _ => self.ackonce(arm).await,
        };
        channel.queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        connection.close(200, "OK".into()).await.unwrap();
        self.messages as f64 / time.as_secs_f64()
    }

    async fn fill(&self, channel: &Channel) {
        let declare = |passive| {
            let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
            channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default())
        };
        declare(false).await.unwrap();
        for n in 0..self.messages {
            let properties = BasicProperties::default().with_message_id(format!("m{n}").into());
            let (options, key) = (BasicPublishOptions::default(), self.queue.as_str().into());
            drop(channel.basic_publish("".into(), key, options, &BODY, properties).await.unwrap());
        }
        while declare(true).await.unwrap().message_count() as usize != self.messages {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The broker has something to tidy up after so many.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    async fn bare(&self, connection: &Connection) -> Duration {
        let channel = connection.create_channel().await.unwrap();
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await.unwrap();
        let (queue, options) = (self.queue.as_str().into(), BasicConsumeOptions::default());
        let mut consumer =
            channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
        let (mut seen, mut start) = (0, None);
        while seen < self.messages {
            let mut last = consumer.next().await.unwrap().unwrap();
            start.get_or_insert_with(Instant::now);
            seen += 1;
            // Whatever has arrived, up to half the prefetch: more would starve the broker.
            let mut batch = 1;
            while batch < usize::from(self.prefetch) / 2
                && let Some(Some(next)) = consumer.next().now_or_never()
            {
                last = next.unwrap();
                seen += 1;
                batch += 1;
            }
            assert!(last.ack(BasicAckOptions { multiple: true }).await.unwrap());
        }
        start.unwrap().elapsed()
    }

    async fn ackonce(&self, arm: Arm) -> Duration {
        let shutdown = CancellationToken::new();
        let scope = Scope::new("throughput").unwrap();
        let consumer = AmqpConsumer::new(&self.url, &self.queue, &scope, Arc::new(MemoryStore::new()))
            .with_settings(Settings::default())
            .with_prefetch(self.prefetch)
            .with_shutdown(shutdown.clone());
        let tally = consumer.tally();
        let run = Arc::new(AtomicUsize::new(0));
        let (first, handled) = (Arc::new(std::sync::OnceLock::new()), run.clone());
        let start = first.clone();
        let running = match arm {
            Arm::Batch => {
                tokio::spawn(consumer.run_batch(ackonce::Batch(move |items: Vec<Item<Message>>| {
                    start.get_or_init(Instant::now);
                    handled.fetch_add(items.len(), Ordering::Relaxed);
                    async move { items.iter().map(|_| Ok(().into())).collect() }
                })))
            }
            _ => tokio::spawn(consumer.run(move |_: Context, _: Message| {
                start.get_or_init(Instant::now);
                handled.fetch_add(1, Ordering::Relaxed);
                async { Ok::<(), Failure>(()) }
            })),
        };
        while tally.counts().acked < self.messages as u64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let time = first.get().unwrap().elapsed();
        let counts = tally.counts();
        eprintln!("  {arm:?}: {:.1} messages per ack", counts.acked as f64 / counts.ack_frames as f64);
        shutdown.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(run.load(Ordering::Relaxed), self.messages);
        time
    }
}
