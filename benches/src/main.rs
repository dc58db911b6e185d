//! `ackonce-benches store`: each measurement beside the others it is compared with, in turns, on this machine.

mod by_hand;
mod harness;
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
    /// The SQLite store: claims and settlements at several sizes, duplicates, sweeping, bytes per ID.
    Store(store::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().what {
        What::Store(options) => store::run(&options),
    }
}
