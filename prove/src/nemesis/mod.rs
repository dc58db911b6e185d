//! Faults of everything but the workers: the store, the network before it, the broker, the clocks. Workers are killed and
//! paused by their fleet, and burden themselves with long handlers.

mod broker;
mod clock;
mod disk;
mod kind;
mod losses;
mod redis;
mod store;
mod tracer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ackonce_testkit::seed::Dice;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::logs::micros_now;

pub(crate) use self::broker::{BrokerFaults, Order, limit_acks};
pub(crate) use self::clock::{Clocks, WorkerClock};
pub(crate) use self::disk::{Disk, with_own_mounts};
pub(crate) use self::kind::FaultKind;
pub(crate) use self::store::{StoreFaults, StoreKind};

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Beginning and end, in microseconds since the Unix epoch.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The faults of servers, networks and clocks.
pub(crate) struct Nemesis {
    pub(crate) dice: Dice,
    pub(crate) kinds: Vec<FaultKind>,
    /// The time between two faults.
    pub(crate) every: std::ops::RangeInclusive<Duration>,
    pub(crate) store: StoreFaults,
    pub(crate) broker: BrokerFaults,
    pub(crate) clocks: Option<Clocks>,
}

impl Nemesis {
    /// Strikes until `is_over`; each fault ends before the next one, and the proxy lives on.
    pub(crate) async fn rage(&mut self, is_over: impl Fn() -> bool) -> Result<Vec<Fault>> {
        let kinds: Vec<_> = self.kinds.iter().copied().filter(|kind| kind.strikes()).collect();
        // Each kind once, in a random order, before any of them comes again.
        let (mut faults, mut due) = (Vec::new(), Vec::new());
        while !is_over() && !kinds.is_empty() {
            let next = Instant::now() + self.dice.between(&self.every);
            while !is_over() && Instant::now() < next {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if is_over() {
                break;
            }
            if due.is_empty() {
                due.clone_from(&kinds);
            }
            let kind = due.swap_remove(self.dice.index(due.len()));
            let from = micros_now();
            self.strike(kind).await.with_context(|| kind.name())?;
            faults.push(Fault { kind, from, to: micros_now() });
        }
        Ok(faults)
    }

    async fn strike(&mut self, kind: FaultKind) -> Result<()> {
        let dice = &mut self.dice;
        match kind {
            FaultKind::Clock => match &self.clocks {
                Some(clocks) => clocks.jump(dice).await,
                None => Ok(()),
            },
            FaultKind::BrokerKill
            | FaultKind::BrokerPause
            | FaultKind::BrokerConnections
            | FaultKind::Recreate
            | FaultKind::Unreadable
            | FaultKind::Rebalance => self.broker.strike(kind, dice).await,
            _ => self.store.strike(kind, dice).await,
        }
    }

    /// Sets the servers up for the faults of the whole run.
    pub(crate) async fn set_up(&mut self, workers: Option<&WorkerClock>) -> Result<()> {
        if let Some(clock) = workers {
            self.clocks = Some(Clocks::set_up(clock.clone(), self.store.kind).await?);
        }
        match self.kinds.contains(&FaultKind::AckTimeout) {
            true => limit_acks(true).await,
            false => Ok(()),
        }
    }

    /// Reverts `set_up`.
    pub(crate) async fn heal(&self) -> Result<()> {
        if let Some(clocks) = &self.clocks {
            clocks.heal().await?;
        }
        match self.kinds.contains(&FaultKind::AckTimeout) {
            true => limit_acks(false).await,
            false => Ok(()),
        }
    }
}

/// `kill`, `start`, `pause` or `resume` of a server that scripts/servers has started.
async fn control(what: &'static str, server: &'static str) -> Result<()> {
    let script = std::env::var_os("ACKONCE_SERVERS").ok_or_else(|| {
        anyhow::anyhow!("ACKONCE_SERVERS is not set: run it by scripts/servers run {server} -- …, or leave out the faults of servers")
    })?;
    let done = tokio::task::spawn_blocking(move || {
        std::process::Command::new(script).args([what, server]).stdout(std::process::Stdio::null()).status()
    });
    anyhow::ensure!(done.await??.success(), "scripts/servers {what} {server} failed");
    Ok(())
}

/// The folder of a server that scripts/servers has started.
fn folder_of(server: &str) -> Result<PathBuf> {
    let servers = std::env::var_os("ACKONCE_SERVERS_DIR").with_context(|| {
        format!("ACKONCE_SERVERS_DIR is not set: run it by scripts/servers run {server} -- …")
    })?;
    Ok(Path::new(&servers).join(server))
}

fn pid_of(server: &str) -> Result<u32> {
    let file = folder_of(server)?.join("server.pid");
    let pid = std::fs::read_to_string(&file).with_context(|| format!("{}: no process", file.display()))?;
    Ok(pid.trim().parse()?)
}

/// Starts a server again that a fault has ended.
async fn revive(server: &'static str) -> Result<()> {
    // It may be about to end.
    tokio::time::sleep(Duration::from_millis(200)).await;
    match Path::new(&format!("/proc/{}/exe", pid_of(server)?)).exists() {
        true => Ok(()),
        false => control("start", server).await,
    }
}

/// Away for a moment of that range: killed and started, or stopped and continued.
async fn outage(kind: FaultKind, server: &'static str, dice: &mut Dice) -> Result<()> {
    let (down, up) = match kind {
        FaultKind::StoreKill | FaultKind::BrokerKill => ("kill", "start"),
        _ => ("pause", "resume"),
    };
    control(down, server).await?;
    let away = Duration::from_millis(300)..=Duration::from_secs(if down == "kill" { 1 } else { 3 });
    tokio::time::sleep(dice.between(&away)).await;
    control(up, server).await
}
