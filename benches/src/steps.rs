//! Steps of a handler and newest wins, through the runner, on each store, and the trips to the store that a step costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ackonce::adapter::{Delivery, Job, NoDeadLetters};
use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement};
use ackonce::{Context, Deduplicator, EntityVersion, Failure, Handler, Newest, Runner, Scope, Settings};
use anyhow::Context as _;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::harness::{Arm, compare, figure, table};
use crate::stores::{Place, Stores};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stores: Stores,
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Messages with the handler at once
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

struct Number(u64);

impl Delivery for Number {
    type Message = u64;
    fn message(&self) -> u64 {
        self.0
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let (_directory, places) = options.stores.open(&runtime)?;
    for Place { name, store, .. } in places {
        let arm = |what: &str, count: u64, handler| {
            let store = store.clone();
            let runtime = &runtime;
            Arm::new(what, move || runtime.block_on(all(options, store.clone(), handler)).map(|()| count))
        };
        let messages = options.messages;
        let steps = vec![
            arm("one step a message", messages, one as Kind),
            arm("three, one after another", 3 * messages, three),
            arm("three side by side", 3 * messages, beside),
        ];
        compare(&format!("{name}: steps, {} messages at once", options.concurrency), options.rounds, steps)?;
        let whole = vec![
            arm("no step", messages, none as Kind),
            arm("three steps", messages, three),
            arm("newest wins", messages, newest),
        ];
        compare(&format!("{name}: messages, {} at once", options.concurrency), options.rounds, whole)?;
        runtime.block_on(trips(options, name, &store))?;
    }
    Ok(())
}

/// Prints the trips of a message and of a step: calls of the store, each of which is one.
async fn trips(options: &Options, name: &str, store: &Arc<dyn Deduplicator>) -> anyhow::Result<()> {
    let title = format!("{name}: trips to the store");
    let mut shown = table(&title, &["a message without steps", "a step"]);
    for (messages, concurrency) in [(200, 1), (options.messages, options.concurrency)] {
        let mut of = [0.0; 2];
        for (of, kind) in of.iter_mut().zip([none as Kind, three]) {
            let counting = Arc::new(Counting { store: store.clone(), trips: AtomicU64::new(0) });
            kind(Everything { store: counting.clone(), messages, concurrency }).await?;
            #[allow(clippy::cast_precision_loss, reason = "a mean is no count")]
            let mean = counting.trips.load(Ordering::Relaxed) as f64 / messages as f64;
            *of = mean;
        }
        let [none, step] = [of[0], (of[1] - of[0]) / 3.0];
        let row = format!("{concurrency} at once");
        figure(&title, &row, json!({"message": none, "step": step}))?;
        shown.add_row([row, format!("{none:.3}"), format!("{step:.3}")]);
    }
    println!("\n{shown}");
    Ok(())
}

/// A store that counts its calls.
#[derive(Debug)]
struct Counting {
    store: Arc<dyn Deduplicator>,
    trips: AtomicU64,
}

#[async_trait::async_trait]
impl Deduplicator for Counting {
    async fn claim(&self, requests: &[ClaimRequest]) -> ackonce::Result<Vec<Claimed>> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.store.claim(requests).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> ackonce::Result<Vec<Settled>> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.store.settle(settlements).await
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

/// Sends all messages through a runner with one of the handlers below.
type Kind = fn(Everything) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>>;

struct Everything {
    store: Arc<dyn Deduplicator>,
    messages: u64,
    concurrency: usize,
}

async fn all(options: &Options, store: Arc<dyn Deduplicator>, kind: Kind) -> anyhow::Result<()> {
    kind(Everything { store, messages: options.messages, concurrency: options.concurrency }).await
}

fn none(all: Everything) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(all.process(|_: Context, _: u64| async { Ok::<(), Failure>(()) }))
}

fn one(all: Everything) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(all.process(|cx: Context, n: u64| async move { cx.step("a", async |_| Ok(n)).await.map(drop) }))
}

fn three(all: Everything) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(all.process(|cx: Context, n: u64| async move {
        for name in ["a", "b", "c"] {
            cx.step(name, async |_| Ok(n)).await?;
        }
        Ok::<(), Failure>(())
    }))
}

fn beside(all: Everything) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(all.process(|cx: Context, n: u64| async move {
        let [a, b, c] = ["a", "b", "c"].map(|name| cx.step(name, async move |_| Ok(n)));
        tokio::try_join!(a, b, c).map(drop)
    }))
}

/// An entity for each message: none waits for another.
fn newest(all: Everything) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>> {
    let version = |n: &u64| Ok(EntityVersion::integer(n.to_be_bytes().to_vec(), 1));
    Box::pin(all.process(Newest::new(version, |_: Context, _: u64| async { Ok::<(), Failure>(()) })))
}

impl Everything {
    async fn process(self, handler: impl Handler<u64>) -> anyhow::Result<()> {
        static SCOPES: AtomicU64 = AtomicU64::new(0);
        // New messages in each round.
        let scope = format!("steps-{}-{}", std::process::id(), SCOPES.fetch_add(1, Ordering::Relaxed));
        let settings = Settings::default().with_concurrency(self.concurrency);
        let runner =
            Runner::with(self.store, &Scope::new(scope)?, handler, settings, Arc::new(NoDeadLetters))?;
        let one = |n: u64| {
            let runner = runner.clone();
            async move {
                let job = Job::new(runner.key(n.to_be_bytes().to_vec())?, Number(n));
                let ended =
                    tokio::spawn(async move { runner.process(job).await.map(|receipt| receipt.redeem()) })
                        .await?;
                ended.map(drop).context("a message was not settled")
            }
        };
        stream::iter(0..self.messages).map(Ok).try_for_each_concurrent(self.concurrency, one).await
    }
}
