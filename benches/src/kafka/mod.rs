//! A Kafka topic read by a bare loop, by loops as one writes them by hand, and through Ackonce.

mod by_hand;
mod topic;
mod wrapped;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Deduplicator, MemoryStore};
use ackonce_postgres::{PostgresConfig, Tables};
use ackonce_redis::RedisStore;
use ackonce_sqlite::SqliteStore;
use ackonce_sqlite::rusqlite::Connection;
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::harness::{Arm, compare, settings};
use topic::Topic;
use wrapped::Wrapped;

#[derive(Args)]
pub(crate) struct Options {
    /// A cluster to bootstrap from; without one, librdkafka's cluster inside this process
    #[arg(long, env = "ACKONCE_TEST_KAFKA")]
    brokers: Option<String>,
    /// The Redis to compare with
    #[arg(long, env = "ACKONCE_TEST_REDIS")]
    redis: Option<String>,
    /// The Postgres to compare with
    #[arg(long, env = "ACKONCE_TEST_POSTGRES")]
    postgres: Option<String>,
    /// Messages of 200 bytes on the topic, all of which each arm reads; loops by hand read a hundredth
    #[arg(long, default_value_t = 300_000)]
    messages: usize,
    /// How often each arm takes its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long the handler works on each message
    #[arg(long, default_value_t = 0)]
    work_ms: u64,
    /// Where SQLite's files are made
    #[arg(long, default_value = ".")]
    directory: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let topic = Topic::fill(options.brokers.as_deref(), options.messages)?;
    settings(json!({
        "messages": options.messages,
        "bytes each": topic::BODY.len(),
        "partitions": topic::PARTITIONS,
        "cluster": if options.brokers.is_some() { "Kafka" } else { "in this process" },
        "handler ms": options.work_ms,
        "cores": std::thread::available_parallelism()?.get(),
    }));
    let few = (options.messages / 100).max(100);
    let work = Duration::from_millis(options.work_ms);
    let directory = tempfile::tempdir_in(&options.directory)?;
    let bench = Bench { topic: &topic, runtime: &runtime, work, few, rounds: options.rounds };

    bench.compare("in memory", Arc::new(MemoryStore::new()), Vec::new(), Vec::new())?;
    let file = directory.path().join("by-hand.db");
    let mut by_hand = by_hand::Sqlite::create(&file)?;
    let arm = Arm::timed("by hand: claim, done and commit each", || {
        by_hand::each(&runtime, &topic, few, &mut by_hand)
    });
    let sqlite = SqliteStore::open(directory.path().join("ackonce.db"))?;
    let inbox = bench.inbox(&directory.path().join("inbox.db"))?;
    bench.compare("SQLite, synchronous=FULL", Arc::new(sqlite), vec![arm], vec![inbox])?;
    if let Some(url) = &options.redis {
        let mut by_hand = runtime.block_on(by_hand::Redis::connect(url))?;
        let mut batches = runtime.block_on(by_hand::Redis::connect(url))?;
        let arms = vec![
            Arm::timed("by hand: claim, done and commit each", || {
                by_hand::each(&runtime, &topic, few, &mut by_hand)
            }),
            Arm::timed("by hand: bare SET NX, done and commit per 1000", || {
                by_hand::in_batches(&runtime, &topic, options.messages, &mut batches)
            }),
        ];
        let store = runtime.block_on(RedisStore::connect(url))?;
        bench.compare("Redis", Arc::new(store), arms, Vec::new())?;
    }
    if let Some(url) = &options.postgres {
        let store =
            runtime.block_on(PostgresConfig::new(url)?.with_tables(Tables::CreateMissing).connect())?;
        bench.compare("Postgres", Arc::new(store), Vec::new(), Vec::new())?;
    }
    Ok(())
}

struct Bench<'a> {
    topic: &'a Topic,
    runtime: &'a Runtime,
    work: Duration,
    few: usize,
    rounds: usize,
}

impl<'a> Bench<'a> {
    /// By hand first, so that ratios are to the loop that one would write; then the bare loop, and Ackonce.
    fn compare(
        &self,
        name: &str,
        store: Arc<dyn Deduplicator>,
        by_hand: Vec<Arm<'a>>,
        more: Vec<Arm<'a>>,
    ) -> anyhow::Result<()> {
        let mut arms = by_hand;
        let (topic, runtime, all) = (self.topic, self.runtime, self.topic.messages);
        arms.push(Arm::timed("bare: one commit per 1000", move || by_hand::bare(topic, all)));
        let wrapped = Wrapped { topic, runtime, store, work: self.work };
        let each = wrapped.clone();
        let some = if self.work.is_zero() { all } else { self.few };
        arms.push(Arm::timed("ackonce, keyed, one at a time, 64 at once", move || each.each(some)));
        arms.push(Arm::timed("ackonce, keyed, batches of 1000", move || wrapped.batches(all)));
        arms.extend(more);
        compare(&format!("Kafka, {name}"), self.rounds, arms)
    }

    fn inbox(&self, file: &std::path::Path) -> anyhow::Result<Arm<'a>> {
        Connection::open(file)?
            .execute_batch("CREATE TABLE effect (id BLOB NOT NULL, amount INTEGER NOT NULL)")?;
        let store = SqliteStore::open(file)?;
        let wrapped = Wrapped {
            topic: self.topic,
            runtime: self.runtime,
            store: Arc::new(store.clone()),
            work: Duration::ZERO,
        };
        let all = self.topic.messages;
        Ok(Arm::timed("ackonce, inbox with one insert, batches of 1000", move || wrapped.inbox(&store, all)))
    }
}
