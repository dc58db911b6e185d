//! The SQLite store at several sizes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ackonce::{Claimed, Deduplicator};
use ackonce_sqlite::rusqlite::{self, Connection, TransactionBehavior};
use ackonce_sqlite::{Entry, GuardOptions, InboxGuard, SqliteConfig, SqliteStore};
use anyhow::{bail, ensure};
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::by_hand::ByHand;
use crate::harness::{Arm, compare, percentile, settings, table};
use crate::messages::{Messages, WEEK, process};

#[derive(Args)]
pub(crate) struct Options {
    /// How many IDs are remembered, in each file that is measured
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000,10000000")]
    remembered: Vec<u64>,
    /// How often each arm takes its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Load the files and stop
    #[arg(long)]
    load_only: bool,
    /// Where the files are made
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Pages of the log before it is carried over (default: the store's)
    #[arg(long)]
    checkpoint_pages: Option<u32>,
    /// Records of a generation (default: the store's)
    #[arg(long)]
    generation: Option<u32>,
}

/// A store with so many IDs in it.
struct Filled {
    remembered: u64,
    path: PathBuf,
    store: SqliteStore,
    messages: Messages,
}

/// What the hand-written table holds; its two flushes per message cost the same at any size.
const BY_HAND: u64 = 100_000;

impl Options {
    fn config(&self, path: &Path) -> SqliteConfig {
        let mut config = SqliteConfig::new(path);
        if let Some(pages) = self.checkpoint_pages {
            config = config.with_checkpoint_pages(pages);
        }
        if let Some(records) = self.generation {
            config = config.with_generation(records);
        }
        config
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    settings(json!({
        "SQLite": rusqlite::version(),
        "ackonce-sqlite": env!("CARGO_PKG_VERSION"),
        "cores": std::thread::available_parallelism()?.get(),
        "synchronous": "FULL",
    }));
    let mut filled = fill(options, &runtime, directory.path())?;
    if options.load_only {
        return Ok(());
    }
    let mut by_hand = ByHand::with(&directory.path().join("by-hand.db"), BY_HAND)?;
    for (batch, most) in [(1, 1_000), (64, 20_000), (1000, 100_000)] {
        let by_hand = (batch == 1).then_some(&mut by_hand);
        new_messages(options, &runtime, &mut filled, batch, most, by_hand)?;
    }
    concurrent(options, &runtime, &mut filled)?;
    duplicates(options, &runtime, &filled)?;
    guards(options, &mut filled)?;
    latency(&runtime, &mut filled)?;
    let largest = filled.last().map(|f| f.remembered).unwrap_or_default();
    drop(filled);
    expiry(options, &runtime, &directory.path().join(format!("{largest}.db")), largest)
}

/// Messages of a batch while a file is loaded.
const LOAD: usize = 4000;

/// Loads one file through claims and settlements and copies it at each size.
fn fill(options: &Options, runtime: &Runtime, directory: &Path) -> anyhow::Result<Vec<Filled>> {
    let loaded = directory.join("load.db");
    let mut sizes = options.remembered.clone();
    sizes.sort_unstable();
    let (mut messages, mut done, mut filled) = (Messages::after(0)?, 0, Vec::new());
    let mut rates = table("loading: up to", &["messages/s", "bytes per ID"]);
    for size in sizes {
        let store = options.config(&loaded).open()?;
        while done < size {
            let part = (size - done).min(1_000_000);
            let began = Instant::now();
            for _ in 0..part.div_ceil(LOAD as u64) {
                let claims = messages.claims(LOAD)?;
                runtime.block_on(process(&store, &claims))?;
            }
            done += part;
            rates.add_row([done.to_string(), per_second(part, began.elapsed()), String::new()]);
        }
        close(store, &loaded)?;
        let path = directory.join(format!("{size}.db"));
        fs::copy(&loaded, &path)?;
        let bytes = fs::metadata(&path)?.len();
        #[allow(clippy::cast_precision_loss, reason = "a ratio is no count")]
        rates.add_row([size.to_string(), "(closed)".into(), format!("{:.1}", bytes as f64 / size as f64)]);
        filled.push(Filled {
            remembered: size,
            store: options.config(&path).open()?,
            path,
            messages: Messages::after(size + LOAD as u64)?,
        });
    }
    println!("\n{rates}");
    Ok(filled)
}

/// Waits until the writer thread has let go of the file, and carries the log over.
fn close(store: SqliteStore, path: &Path) -> anyhow::Result<()> {
    drop(store);
    let log = path.with_extension("db-wal");
    while log.exists() {
        std::thread::sleep(Duration::from_millis(1));
        let conn = Connection::open(path)?;
        conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
    }
    Ok(())
}

fn per_second(count: u64, time: Duration) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
    let rate = count as f64 / time.as_secs_f64();
    format!("{rate:.0}")
}

fn new_messages(
    options: &Options,
    runtime: &Runtime,
    filled: &mut [Filled],
    batch: usize,
    most: usize,
    by_hand: Option<&mut ByHand>,
) -> anyhow::Result<()> {
    let mut arms = Vec::new();
    for Filled { remembered, store, messages, .. } in filled {
        arms.push(Arm::new(format!("{remembered} remembered"), move || {
            for _ in 0..most / batch {
                let claims = messages.claims(batch)?;
                runtime.block_on(process(store, &claims))?;
            }
            Ok((most / batch * batch) as u64)
        }));
    }
    if let Some(by_hand) = by_hand {
        arms.push(Arm::new(format!("by hand, {BY_HAND} remembered"), || by_hand.process(most as u64)));
    }
    compare(&format!("new messages, claimed and completed, batches of {batch}"), options.rounds, arms)
}

fn concurrent(options: &Options, runtime: &Runtime, filled: &mut [Filled]) -> anyhow::Result<()> {
    const TASKS: usize = 256;
    const EACH: usize = 200;
    let mut arms = Vec::new();
    for Filled { remembered, store, messages, .. } in filled {
        arms.push(Arm::new(format!("{remembered} remembered"), move || {
            let mut tasks = Vec::new();
            for _ in 0..TASKS {
                let (store, claims) = (store.clone(), messages.claims(EACH)?);
                tasks.push(runtime.spawn(async move {
                    for claim in claims {
                        process(&store, std::slice::from_ref(&claim)).await?;
                    }
                    anyhow::Ok(())
                }));
            }
            for task in tasks {
                runtime.block_on(task)??;
            }
            Ok((TASKS * EACH) as u64)
        }));
    }
    compare(&format!("new messages, one at a time in each of {TASKS} tasks"), options.rounds, arms)
}

fn duplicates(options: &Options, runtime: &Runtime, filled: &[Filled]) -> anyhow::Result<()> {
    const COUNT: u64 = 100_000;
    let mut arms = Vec::new();
    for Filled { remembered, store, messages, .. } in filled {
        let mut seed: u64 = 1;
        arms.push(Arm::new(format!("{remembered} remembered"), move || {
            for _ in 0..COUNT / 1000 {
                let mut claims = Vec::with_capacity(1000);
                for _ in 0..1000 {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    claims.push(messages.claim((seed >> 20) % remembered + 1)?);
                }
                let answers = runtime.block_on(store.claim(&claims))?;
                ensure!(answers.iter().all(|a| matches!(a, Claimed::Done(_))), "a duplicate was not found");
            }
            Ok(COUNT)
        }));
    }
    compare("duplicates of any age, batches of 1000", options.rounds, arms)
}

/// Transactions of one's own: claim, completion and one flush each.
fn guards(options: &Options, filled: &mut [Filled]) -> anyhow::Result<()> {
    const COUNT: usize = 500;
    let mut arms = Vec::new();
    for Filled { remembered, path, messages, .. } in filled {
        let mut conn = Connection::open(path)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        arms.push(Arm::new(format!("{remembered} remembered"), move || {
            for claim in messages.claims(COUNT)? {
                let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let entry = InboxGuard::enter(&tx, &claim.key, &GuardOptions::default())?;
                let Entry::First(guard) = entry else { bail!("not a new ID: {entry:?}") };
                guard.finish(&tx)?;
                tx.commit()?;
            }
            Ok(COUNT as u64)
        }));
    }
    compare("guards in transactions of one's own", options.rounds, arms)
}

/// One message at a time, with nobody else about.
fn latency(runtime: &Runtime, filled: &mut [Filled]) -> anyhow::Result<()> {
    let mut shown = table("one message alone: claim and completion", &["p50 µs", "p99 µs", "longest µs"]);
    for Filled { remembered, store, messages, .. } in filled {
        let mut times = Vec::new();
        for claim in messages.claims(5_000)? {
            let began = Instant::now();
            runtime.block_on(process(store, std::slice::from_ref(&claim)))?;
            times.push(began.elapsed());
        }
        let cells = [50, 99, 100].map(|part| percentile(&mut times, part).as_micros().to_string());
        shown.add_row([&[format!("{remembered} remembered")][..], &cells].concat());
    }
    println!("\n{shown}");
    Ok(())
}

/// Writes on while everything that was remembered expires at once, and is dropped along with the writes.
fn expiry(options: &Options, runtime: &Runtime, path: &Path, remembered: u64) -> anyhow::Result<()> {
    let ahead = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ahead);
    let now = move || SystemTime::now() + Duration::from_micros(clock.load(Ordering::Relaxed));
    let store = options.config(path).with_clock(now).open()?;
    let mut messages = Messages::after(1 << 40)?;
    let mut shown = table(
        "while that many expire",
        &["p50 µs", "longest µs", "wait beyond the p50, ms in all", "ms per million expired"],
    );
    let mut usual = Duration::ZERO;
    #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
    for expired in [0, remembered] {
        if expired > 0 {
            ahead.store(u64::try_from((WEEK * 2).as_micros())?, Ordering::Relaxed);
        }
        let mut times = Vec::new();
        for claim in messages.claims(3_000)? {
            let began = Instant::now();
            runtime.block_on(process(&store, std::slice::from_ref(&claim)))?;
            times.push(began.elapsed());
        }
        let p50 = percentile(&mut times, 50);
        let waited: Duration = times.iter().map(|t| t.saturating_sub(p50)).sum();
        usual = if expired == 0 { waited } else { usual };
        let per_million = match expired {
            0 => "-".into(),
            n => format!("{:.0}", (waited.saturating_sub(usual)).as_secs_f64() * 1e9 / n as f64),
        };
        let longest = percentile(&mut times, 100);
        shown.add_row([
            expired.to_string(),
            p50.as_micros().to_string(),
            longest.as_micros().to_string(),
            waited.as_millis().to_string(),
            per_million,
        ]);
    }
    println!("\n{shown}");
    Ok(())
}
