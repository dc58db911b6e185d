//! Run a job once per time slot, on as many hosts as you like:
//! `cargo run -p examples --bin cron_job -- --job report --every 10 --missed all`
//!
//! or at local times, also when the clocks change:
//! `cargo run -p examples --bin cron_job -- --job nightly --cron '30 2 * * *' --zone Europe/Berlin`
//!
//! Start it several times at once, on one store: each slot has one line in the ledger, whose `id` is the slot's start in
//! milliseconds since the Unix epoch.

use std::process::ExitCode;
use std::time::Duration;

use ackonce::schedule::{Every, Missed, Schedule, ScheduledJob};
use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use examples::{Flags, Usage};

/// Runs a job once per time slot, on any number of processes
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, value_name = "NAME", default_value = "report")]
    job: String,
    /// The length of a slot; slots are aligned to the Unix epoch
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    every: u64,
    /// A cron expression in place of a length: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "EXPR", conflicts_with = "every")]
    cron: Option<String>,
    /// The time zone of the cron expression, by its IANA name
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "cron")]
    zone: String,
    /// The policy for slots that nobody ran in time
    #[arg(long, value_enum, default_value_t = Policy::Once)]
    missed: Policy,
    /// The number of slots that it looks back for missed ones
    #[arg(long, value_name = "N", default_value_t = 10)]
    look_back: u32,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    /// They do not run
    Skip,
    /// The latest of them runs
    Once,
    /// Each of them runs, oldest first
    All,
}

impl From<Policy> for Missed {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Skip => Self::Skip,
            Policy::Once => Self::Once,
            Policy::All => Self::All,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    examples::log();
    examples::run(schedule(args))
}

async fn schedule(args: Args) -> Result<()> {
    let schedule = slots(&args)?;
    let Args { job, missed, look_back, flags, .. } = args;
    if !flags.id.is_empty() {
        return Err(Usage("--id: a run is identified by its time slot".into()).into());
    }
    let shutdown = ackonce::shutdown_on_signals()?;
    let store = flags.open(&shutdown).await?;
    let scope = flags.scope(&format!("jobs/{job}"))?;
    let job_run = ScheduledJob::new(&scope, schedule, store.deduplicator())
        .with_settings(flags.settings())
        .with_missed(missed.into())
        .with_look_back(look_back)
        .with_shutdown(shutdown);
    job_run.check().map_err(|why| Usage(format!("--window-s, --look-back or --lease-ms: {why}")))?;
    let ended = job_run.run(examples::handler(&flags, &store).await?).await;
    eprintln!("{:?}", ended.with_context(|| format!("running the job {job}"))?);
    Ok(())
}

fn slots(args: &Args) -> Result<Schedule, Usage> {
    let Args { every, cron, zone, .. } = args;
    match cron {
        Some(expression) => {
            Schedule::cron(expression, zone).map_err(|why| Usage(format!("--cron, --zone: {why}")))
        }
        None => Every::new(Duration::from_secs(*every))
            .map(Schedule::from)
            .map_err(|why| Usage(format!("--every: {why}"))),
    }
}
