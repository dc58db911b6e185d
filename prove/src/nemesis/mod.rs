//! Faults of everything but the workers: the store, the network before it, the broker. Workers are killed and paused by
//! their fleet.

mod broker;
mod store;

use std::time::Duration;

use ackonce_testkit::seed::Dice;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::broker::BrokerKind;
use crate::logs::micros_now;

pub(crate) use self::broker::BrokerFaults;
pub(crate) use self::store::{StoreFaults, StoreKind};

/// A kind of fault. The command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// A worker is killed at a random moment
    Kill,
    /// A worker kills itself at a named point: before and after the effect, before the ack
    Crash,
    /// A worker is stopped for longer than its lease
    Pause,
    /// The store's server is killed and started again
    StoreKill,
    /// The store's server is stopped for up to three seconds
    StorePause,
    /// The store's connections are closed by its server
    StoreConnections,
    /// Redis forgets its scripts
    StoreScripts,
    /// Another process holds the write lock of the SQLite file
    StoreLock,
    /// A reply of the store is lost with its connection
    StoreReply,
    /// Nothing reaches the store, or nothing comes back, and nobody is told
    StoreSilence,
    /// Requests to the store arrive up to two seconds late
    StoreLate,
    /// The broker is killed and started again
    BrokerKill,
    /// The broker is stopped for up to three seconds
    BrokerPause,
    /// RabbitMQ closes all connections
    BrokerConnections,
    /// A guest joins the Kafka group and leaves it in good order
    Rebalance,
}

impl FaultKind {
    /// True if a store and a broker of these kinds can meet it.
    pub(crate) fn suits(self, store: StoreKind, broker: BrokerKind) -> bool {
        match self {
            Self::Kill | Self::Crash | Self::Pause => true,
            Self::StoreLock => store == StoreKind::Sqlite,
            Self::StoreScripts => store == StoreKind::Redis,
            Self::StoreKill | Self::StorePause | Self::StoreConnections => store != StoreKind::Sqlite,
            Self::StoreReply | Self::StoreSilence | Self::StoreLate => store != StoreKind::Sqlite,
            Self::BrokerKill | Self::BrokerPause => broker != BrokerKind::Feed,
            Self::BrokerConnections => broker == BrokerKind::Rabbitmq,
            Self::Rebalance => broker == BrokerKind::Kafka,
        }
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Beginning and end, in microseconds since the Unix epoch.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The faults of servers and networks.
pub(crate) struct Nemesis {
    pub(crate) dice: Dice,
    pub(crate) kinds: Vec<FaultKind>,
    /// The time between two faults.
    pub(crate) every: std::ops::RangeInclusive<Duration>,
    pub(crate) store: StoreFaults,
    pub(crate) broker: BrokerFaults,
}

impl Nemesis {
    /// Strikes until `is_over`; each fault ends before the next one, and the proxy lives on.
    pub(crate) async fn rage(&mut self, is_over: impl Fn() -> bool) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        while !is_over() && !self.kinds.is_empty() {
            let next = Instant::now() + self.dice.between(&self.every);
            while !is_over() && Instant::now() < next {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if is_over() {
                break;
            }
            let kind = self.kinds[self.dice.index(self.kinds.len())];
            let from = micros_now();
            match kind {
                FaultKind::Kill | FaultKind::Crash | FaultKind::Pause => {}
                FaultKind::BrokerKill
                | FaultKind::BrokerPause
                | FaultKind::BrokerConnections
                | FaultKind::Rebalance => self.broker.strike(kind, &mut self.dice).await?,
                _ => self.store.strike(kind, &mut self.dice).await?,
            }
            faults.push(Fault { kind, from, to: micros_now() });
        }
        Ok(faults)
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
