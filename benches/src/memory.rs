//! The memory of a consumer over a long run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::{CancellationToken, Scope};
use ackonce_kafka::KafkaConsumer;
use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::handlers::{self, Watch, Watched};
use crate::harness::{figure, settings, table};
use crate::kafka::topic::Topic;
use crate::stores::Stores;

#[derive(Args)]
pub(crate) struct Options {
    /// A cluster to bootstrap from
    #[arg(long, env = "ACKONCE_TEST_KAFKA")]
    brokers: String,
    #[command(flatten)]
    stores: Stores,
    /// Messages of 200 bytes, published as they are read
    #[arg(long, default_value_t = 10_000_000)]
    messages: usize,
    /// Messages from one look at the memory to the next
    #[arg(long, default_value_t = 1_000_000)]
    every: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    settings(json!({
        "messages": options.messages,
        "handler": "batches",
        "cores": std::thread::available_parallelism()?.get(),
    }));
    let (_directory, places) = options.stores.open(&runtime)?;
    for place in places {
        let topic = Topic::fill(Some(&options.brokers), 0)?;
        let watch = Arc::new(Watch::default());
        let shutdown = CancellationToken::new();
        let scope = Scope::new(topic.group())?;
        let consumer = KafkaConsumer::new(topic.config(scope.name()), &[&topic.name], &scope, place.store)
            .with_shutdown(shutdown.clone());
        let watched = Watched { handler: handlers::batches(Duration::ZERO), watch: watch.clone() };
        let running = runtime.spawn(consumer.run_batch(watched));
        let title = format!("Memory of a consumer, {}", place.name);
        std::thread::scope(|threads| {
            let looking = threads.spawn(|| look(&title, options, &watch, || running.is_finished()));
            topic.publish(0..options.messages, || watch.handled())?;
            looking.join().ok().context("the look at the memory panicked")?
        })?;
        shutdown.cancel();
        let counts = runtime.block_on(running)??;
        ensure!(counts.duplicate == 0 && counts.buried == 0, "not all messages were new: {counts:?}");
    }
    Ok(())
}

fn look(title: &str, options: &Options, watch: &Watch, ended: impl Fn() -> bool) -> anyhow::Result<()> {
    let mut shown = table(title, &["resident, MB", "of it the heap, MB", "messages/s"]);
    let mut since = Instant::now();
    for messages in (options.every..=options.messages).step_by(options.every) {
        while watch.handled() < messages {
            ensure!(!ended(), "the consumer has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        let (resident, heap) = (kilobytes("VmRSS:")? / 1024, kilobytes("RssAnon:")? / 1024);
        #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
        let rate = options.every as f64 / since.elapsed().as_secs_f64();
        since = Instant::now();
        eprintln!("{messages} messages, {resident} MB");
        figure(
            title,
            &messages.to_string(),
            json!({"resident MB": resident, "heap MB": heap, "rate": rate}),
        )?;
        shown.add_row([messages.to_string(), resident.to_string(), heap.to_string(), format!("{rate:.0}")]);
    }
    println!("\n{shown}");
    Ok(())
}

/// As the kernel counts this process.
fn kilobytes(what: &str) -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("only Linux says how much is resident")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
