//! The processes that are killed: `ackonce demo-worker`, started by the demo alone.

mod by_hand;
mod wrapped;

use std::io::Read as _;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Args;
use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use super::args::DemoClass;
use super::arm::{Arm, ArmFiles};
use super::broker::Source;

/// The argument of `demo-worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// The task, as JSON
    order: String,
}

/// The task of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerOrder {
    pub(crate) arm: Arm,
    pub(crate) source: Source,
    pub(crate) group: String,
    pub(crate) class: DemoClass,
    pub(crate) store: String,
    pub(crate) lease_ms: u64,
    pub(crate) attempts: u32,
    pub(crate) files: ArmFiles,
}

impl WorkerOrder {
    /// The command line that gives this order.
    pub(crate) fn args(&self) -> Result<[String; 2]> {
        Ok(["demo-worker".to_owned(), serde_json::to_string(self)?])
    }
}

/// A consumer's settings.
fn kafka(brokers: &str, group: &str, session_ms: u64) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // A killed worker's partitions should not wait for long.
        .set("session.timeout.ms", session_ms.to_string())
        .set("heartbeat.interval.ms", "200")
        .set("fetch.wait.max.ms", "100");
    config
}

/// Consumes until it is told to end, or killed.
///
/// # Errors
/// An order that is none, a store or broker that cannot be used.
pub fn run(args: &WorkerArgs) -> Result<()> {
    let order: WorkerOrder = serde_json::from_str(&args.order)
        .context("`demo-worker` is started by `ackonce demo`, with its own argument")?;
    end_with_parent()?;
    match order.arm {
        Arm::Ackonce => wrapped::run(&order),
        Arm::RecordThenRun | Arm::RunThenRecord => by_hand::run(&order),
    }
}

/// The demo holds the other end of stdin, and nobody writes to it: when it ends, the demo has.
fn end_with_parent() -> Result<()> {
    let watch = || {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    };
    thread::Builder::new().name("parent".into()).spawn(watch).context("starting a thread")?;
    Ok(())
}
