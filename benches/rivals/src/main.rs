//! Steps of a handler beside workflows of DBOS, on one PostgreSQL, in turns:
//!
//! ```sh
//! scripts/servers run postgres -- cargo run --release --manifest-path benches/rivals/Cargo.toml
//! ```
//!
//! Each message, or workflow, has three steps that return at once. Both commit durably (`synchronous_commit=on`).

#[path = "../../src/harness.rs"]
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ackonce::adapter::{Delivery, Job, NoDeadLetters};
use ackonce::{Context, Deduplicator, Failure, Runner, Scope, Settings};
use ackonce_postgres::{PostgresConfig, Tables};
use anyhow::Context as _;
use clap::Parser;
use dbos::{Config, DBOS, RunOptions, WorkflowRef};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::runtime::Runtime;

use crate::harness::{Arm, compare};

const STEPS: [&str; 3] = ["a", "b", "c"];

#[derive(Parser)]
struct Options {
    /// The server; tables are made in its schemas ackonce and dbos
    #[arg(long, env = "ACKONCE_TEST_POSTGRES")]
    postgres: String,
    /// Messages, or workflows, of a round with many at once
    #[arg(long, default_value_t = 3000)]
    messages: u64,
    /// Those of a round with one at a time
    #[arg(long, default_value_t = 300)]
    alone: u64,
    /// Messages, or workflows, at once
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// Connections of DBOS (its default is 10)
    #[arg(long, default_value_t = 20)]
    connections: u32,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

struct Number(u64);

impl Delivery for Number {
    type Message = u64;
    fn message(&self) -> u64 {
        self.0
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = Runtime::new()?;
    let store: Arc<dyn Deduplicator> = Arc::new(runtime.block_on(async {
        PostgresConfig::new(&options.postgres)?.with_tables(Tables::CreateMissing).connect().await
    })?);
    let (_dbos, three) = runtime.block_on(launch(&options))?;
    for (messages, concurrency) in [(options.messages, options.concurrency), (options.alone, 1)] {
        let steps = messages * STEPS.len() as u64;
        let arms = vec![
            Arm::new("DBOS 0.5.0, a workflow of three steps", || {
                runtime.block_on(workflows(&three, messages, concurrency)).map(|()| steps)
            }),
            Arm::new("Ackonce, a handler of three steps", || {
                runtime.block_on(handlers(&store, messages, concurrency)).map(|()| steps)
            }),
        ];
        compare(&format!("PostgreSQL: steps, {concurrency} at once"), options.rounds, arms)?;
    }
    Ok(())
}

async fn launch(options: &Options) -> anyhow::Result<(DBOS, WorkflowRef<u64, ()>)> {
    let config = Config {
        max_connections: options.connections,
        app_version: Some("1".to_owned()),
        ..Config::new("ackonce-rivals", &options.postgres)
    };
    let dbos = DBOS::new(config);
    let three = dbos.register_workflow("three", |n: u64| async move {
        for name in STEPS {
            dbos::step(name, || async move { dbos::Result::Ok(n) }).await?;
        }
        dbos::Result::Ok(())
    })?;
    dbos.launch().await?;
    Ok((dbos, three))
}

/// A name that no round had before.
fn new_name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("rivals-{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
}

async fn workflows(three: &WorkflowRef<u64, ()>, messages: u64, concurrency: usize) -> anyhow::Result<()> {
    let name = new_name();
    let one = |n: u64| {
        let (three, id) = (three.clone(), format!("{name}/{n}"));
        async move {
            let run = async move {
                three.run_with(n, RunOptions { workflow_id: Some(&id), ..RunOptions::default() }).await
            };
            anyhow::Ok(tokio::spawn(run).await??)
        }
    };
    stream::iter(0..messages).map(Ok).try_for_each_concurrent(concurrency, one).await
}

async fn handlers(store: &Arc<dyn Deduplicator>, messages: u64, concurrency: usize) -> anyhow::Result<()> {
    let handler = |cx: Context, n: u64| async move {
        for name in STEPS {
            cx.step(name, async |_| Ok(n)).await?;
        }
        Ok::<(), Failure>(())
    };
    let settings = Settings::default().with_concurrency(concurrency);
    let scope = Scope::new(new_name())?;
    let runner = Runner::with(store.clone(), &scope, handler, settings, Arc::new(NoDeadLetters))?;
    let one = |n: u64| {
        let runner = runner.clone();
        async move {
            let job = Job::new(runner.key(n.to_be_bytes().to_vec())?, Number(n));
            let run = async move { runner.process(job).await.map(|receipt| receipt.redeem()) };
            tokio::spawn(run).await?.map(drop).context("a message was not settled")
        }
    };
    stream::iter(0..messages).map(Ok).try_for_each_concurrent(concurrency, one).await
}
