//! `ackonce-benches store`: each measurement beside the others it is compared with, in turns, on this machine.

mod by_hand;
mod harness;
mod kafka;
mod messages;
mod store;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Append each figure to this file as well, as lines of JSON
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// A Kafka topic: the bare loop, loops by hand, Ackonce one at a time and in batches, on each store.
    Kafka(kafka::Options),
    /// The SQLite store: claims and settlements at several sizes, duplicates, sweeping, bytes per ID.
    Store(store::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(path) = &cli.json {
        harness::append_to(path)?;
    }
    match cli.what {
        What::Kafka(options) => kafka::run(&options),
        What::Store(options) => store::run(&options),
    }
}
