//! Very many deliveries in batches, one in five of them a repeat, to workers that are killed.

mod audit;
mod worker;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ackonce_testkit::crash::{Faults, Fleet};
use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

pub(crate) use self::worker::work;

/// Deliveries that a worker is handed at once.
const CHUNK: u64 = 500;
const LEASE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct DeliverArgs {
    #[arg(long, default_value_t = 10_000_000)]
    deliveries: u64,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    workers: u64,
    /// The time between two kills, about, in milliseconds
    #[arg(long, default_value_t = 5000)]
    kill_every_ms: u64,
    /// Everything is stuck if so many seconds pass without an acknowledgement
    #[arg(long, default_value_t = 120)]
    bound_s: u64,
    /// A folder with room for a gigabyte; everything is removed at the end
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The order to a worker, which is handed every `workers`-th chunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    dir: PathBuf,
    deliveries: u64,
    workers: u64,
    worker: u64,
}

impl Order {
    fn acks(&self, worker: u64) -> PathBuf {
        self.dir.join(format!("acks-{worker}"))
    }

    fn effects(&self, pid: u32) -> PathBuf {
        self.dir.join(format!("effects-{pid}"))
    }

    fn store(&self) -> PathBuf {
        self.dir.join("dedup.db")
    }

    /// The number of deliveries that all workers have acknowledged.
    fn acknowledged(&self) -> u64 {
        let size = |worker| std::fs::metadata(self.acks(worker)).map_or(0, |file| file.len());
        (0..self.workers).map(size).sum::<u64>() / worker::ACK
    }
}

/// The message of the n-th delivery: every fifth delivery repeats one of any age.
fn message(delivery: u64) -> u64 {
    let new = delivery - delivery / 5;
    match delivery % 5 {
        4 => delivery.wrapping_mul(0x9e37_79b9_7f4a_7c15) % new,
        _ => new,
    }
}

/// Delivers and audits. False if a message was lost, or doubled without a kill that explains it, or something was stuck.
pub(crate) async fn run(args: &DeliverArgs) -> Result<bool> {
    let dir = tempfile::tempdir_in(&args.directory)?;
    let order =
        Order { dir: dir.path().to_owned(), deliveries: args.deliveries, workers: args.workers, worker: 0 };
    let (began, latest) = (Instant::now(), Mutex::new((0, Instant::now())));
    let fleet = fleet(args, &order)?;
    let through = fleet.run(async |progress| {
        let acknowledged = order.acknowledged();
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        if acknowledged / 100_000 > latest.0 / 100_000 {
            eprintln!("{acknowledged} acknowledged, {} kills", progress.kills);
        }
        if acknowledged > latest.0 {
            *latest = (acknowledged, Instant::now());
        }
        acknowledged >= order.deliveries || latest.1.elapsed().as_secs() > args.bound_s
    });
    let history = through.await?;
    let mut result = audit::audit(&order, &history).await?;
    result.seed = args.seed;
    result.seconds = began.elapsed().as_secs();
    println!("{}", serde_json::json!({ "delivered": result }));
    Ok(result.is_kept())
}

fn fleet(args: &DeliverArgs, order: &Order) -> Result<Fleet> {
    let every = Duration::from_millis(args.kill_every_ms);
    let faults = Faults { kill_every: Some(every / 2..=every + every / 2), ..Faults::default() };
    let exe = std::env::current_exe()?;
    let (order, logs) = (order.clone(), order.dir.join("workers"));
    let command = move |worker: usize| {
        let order = Order { worker: worker as u64, ..order.clone() };
        let mut command = Command::new(&exe);
        command.arg("work").arg(serde_json::to_string(&order).unwrap_or_default());
        command
    };
    Ok(Fleet::new(logs, usize::try_from(args.workers).unwrap_or(1), command)
        .with_seed(args.seed)
        .with_faults(faults)
        .with_grace(Duration::from_secs(60))
        .with_bound(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_message_is_delivered_and_one_delivery_in_five_repeats_one_from_before() {
        let mut seen = BTreeSet::new();
        for delivery in 0..10_000 {
            assert_eq!(seen.insert(message(delivery)), delivery % 5 != 4, "delivery {delivery}");
        }
        assert!(seen.into_iter().eq(0..8000));
    }
}
