//! `ackonce-benches store`: each measurement beside the others it is compared with, in turns, on this machine.

mod by_hand;
mod harness;
mod kafka;
mod messages;
mod store;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A Kafka topic: the bare loop, loops by hand, Ackonce one at a time and in batches, on each store.
    Kafka(kafka::Options),
    /// The SQLite store: claims and settlements at several sizes, duplicates, sweeping, bytes per ID.
    Store(store::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().what {
        What::Kafka(options) => kafka::run(&options),
        What::Store(options) => store::run(&options),
    }
}
