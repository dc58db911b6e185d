//! All stores, each measured the same way: claims and settlements beside the statements that one writes by hand, at
//! several sizes, duplicates, expiry, bytes per ID.

mod expiry;
mod fill;
mod memory;
mod postgres;
mod rates;
mod redis;
mod sqlite;
mod subject;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::runtime::Runtime;

use crate::harness::settings;
use subject::{Hand, Subject};

#[derive(Args)]
pub(crate) struct Options {
    /// Which stores are measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,sqlite,redis,postgres")]
    stores: Vec<Kind>,
    /// The Redis to measure; all keys made there are removed again
    #[arg(long, env = "ACKONCE_TEST_REDIS")]
    redis: Option<String>,
    /// The Postgres to measure, with the right to create schemas in it
    #[arg(long, env = "ACKONCE_TEST_POSTGRES")]
    postgres: Option<String>,
    /// Directory for SQLite's files
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Number of IDs remembered in each measured store
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000,10000000")]
    remembered: Vec<u64>,
    /// Turns of each arm
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// New messages of a turn in batches of 1000; they stay, so that a small store must not get too many. Batches of 64
    /// and of 1 take a fifth and a hundredth of it
    #[arg(long, default_value_t = 20_000)]
    messages: usize,
    /// Number of IDs that expire while a writer goes on; 0 for none
    #[arg(long, default_value_t = 1_000_000)]
    expiring: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Memory,
    Sqlite,
    Redis,
    Postgres,
}

/// Needed by every measurement.
struct Bench<'a> {
    options: &'a Options,
    runtime: &'a Runtime,
    name: &'static str,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    for kind in &options.stores {
        let subject: Option<Box<dyn Subject + '_>> = match kind {
            Kind::Memory => Some(Box::new(memory::Memory::new())),
            Kind::Sqlite => Some(Box::new(sqlite::Sqlite::new(&options.directory)?)),
            Kind::Redis => match &options.redis {
                Some(url) => Some(Box::new(redis::Redis::connect(url, &runtime)?)),
                None => None,
            },
            Kind::Postgres => match &options.postgres {
                Some(url) => Some(Box::new(postgres::Postgres::connect(url, &runtime)?)),
                None => None,
            },
        };
        match subject {
            Some(mut subject) => measure(options, &runtime, &mut *subject)?,
            None => println!("\nNOT MEASURED: {}, whose URL is not given", name(*kind)),
        }
    }
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Memory => "memory",
        Kind::Sqlite => "SQLite",
        Kind::Redis => "Redis",
        Kind::Postgres => "Postgres",
    }
}

fn measure(options: &Options, runtime: &Runtime, subject: &mut dyn Subject) -> anyhow::Result<()> {
    println!();
    settings(subject.settings()?);
    let bench = Bench { options, runtime, name: subject.name() };
    let mut filled = bench.fill(subject)?;
    let mut hand = subject.by_hand()?.map(Hand::loaded).transpose()?;
    for (batch, messages) in [(1, 100), (64, 5), (1000, 1)].map(|(b, part)| (b, options.messages / part)) {
        bench.new_messages(&mut filled, batch, messages, hand.as_mut())?;
    }
    drop(hand);
    bench.concurrent(&mut filled)?;
    bench.duplicates(&filled)?;
    bench.latency(&mut filled)?;
    subject.more(&bench, &mut filled)?;
    drop(filled);
    bench.expiry(subject)
}
