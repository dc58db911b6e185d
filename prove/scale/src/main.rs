#![doc = include_str!("../README.md")]

mod deliver;
mod remember;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The scope of all messages.
const SCOPE: &str = "prove";

/// Proves at scale that nothing is lost, doubled or forgotten
///
/// Prints the result as a line of JSON. Exit code 0: the promise was kept; 1: it was broken; 2: wrong usage; 3: the run could
/// not be made.
#[derive(Debug, Parser)]
#[command(name = "prove-scale", version)]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fill one SQLite file with very many IDs, kill the process that does so again and again, and ask for the IDs
    Remember(remember::RememberArgs),
    /// Hand ten million deliveries to workers that are killed, one in five of them a repeat, and audit the effects
    Deliver(deliver::DeliverArgs),
    #[command(hide = true)]
    Fill { order: String },
    #[command(hide = true)]
    Work { order: String },
}

#[tokio::main]
async fn main() -> ExitCode {
    let kept = match Program::parse().verb {
        Verb::Remember(args) => remember::run(&args).await,
        Verb::Deliver(args) => deliver::run(&args).await,
        Verb::Work { order } => Box::pin(deliver::work(&order)).await.map(|()| true),
        Verb::Fill { order } => remember::fill(&order).await.map(|()| true),
    };
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// The versions that a result belongs to.
fn versions() -> Vec<String> {
    let sqlite = format!("sqlite {}", ackonce_sqlite::rusqlite::version());
    vec![concat!("ackonce ", env!("CARGO_PKG_VERSION")).to_owned(), sqlite]
}
