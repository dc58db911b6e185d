//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ackonce_tests::drivers::Driver;
use clap::{Args, Parser, Subcommand};

use crate::broker::BrokerKind;
use crate::nemesis::{FaultKind, StoreKind};
use crate::plan::{Group, Mode};
use crate::plant::PlantArgs;
use crate::rival::Rival;

/// Proves that nothing is lost, doubled or stuck
///
/// Publishes messages, has worker processes consume them through faults of workers, store, network and broker, heals
/// everything, and audits what took effect. Exit code 0: the promise was kept; 1: it was broken; 2: wrong usage; 3: the run
/// could not be made. Servers come from scripts/servers:
///
///     scripts/servers run redis -- cargo run --release -p prove -- --store redis --minutes 5
#[derive(Debug, Parser)]
#[command(name = "prove", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Program {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Audit the logs of a run again
    Audit {
        /// The folder of `--keep`
        dir: PathBuf,
    },
    /// Make runs until the goals of docs/PROOF.md are reached, and add each to its results
    Campaign(CampaignArgs),
    /// Write the tables of docs/PROOF.md anew, from its results
    Figures,
    /// Plant the bugs of prove/planted, one at a time in a copy of the tree, and see that each is caught
    Plant(PlantArgs),
    #[command(hide = true)]
    Worker { plan: String },
}

/// One run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// `sqlite` (a file of this run), `redis` or `postgres` (of scripts/servers), or a store's URL
    #[arg(long, default_value = "sqlite")]
    pub(crate) store: String,
    #[arg(long, value_enum, default_value = "feed")]
    pub(crate) broker: BrokerKind,
    /// The class, or a loop by hand as a negative control
    #[arg(long = "class", value_enum, default_value = "leased")]
    pub(crate) mode: Mode,
    /// The library of an inbox on PostgreSQL: `tokio-postgres`, `sqlx`, `seaorm` or `diesel`
    #[arg(long, value_parser = driver, default_value = "tokio-postgres")]
    pub(crate) driver: Driver,
    /// Workers of another library, as `NAME=COMMAND`: README.md says how they are told their work
    #[arg(long, value_name = "NAME=COMMAND", value_parser = Rival::parse)]
    pub(crate) rival: Option<Rival>,
    /// Kinds of faults, by commas; without it those of workers, store, network and broker that the run can meet. The others
    /// need a tool or a setting, or are measured alone
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) faults: Vec<FaultKind>,
    /// The length of the chaos
    #[arg(long, default_value_t = 1.0)]
    pub(crate) minutes: f64,
    /// The mean time between two kills at random moments, in milliseconds; without it as short as the source can find out
    /// about them
    #[arg(long)]
    pub(crate) kill_every_ms: Option<u64>,
    /// The time between two faults of servers and networks, about, in milliseconds
    #[arg(long, default_value_t = 2500)]
    pub(crate) fault_every_ms: u64,
    /// The time between two pauses of workers, about, in milliseconds
    #[arg(long, default_value_t = 5500)]
    pub(crate) pause_every_ms: u64,
    /// The protocol of the Kafka group
    #[arg(long, value_enum, default_value = "eager")]
    pub(crate) group: Group,
    /// End the chaos after so many kills of workers, if that is earlier
    #[arg(long)]
    pub(crate) kills: Option<usize>,
    /// Decides every random choice; without it a new one, which is printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Worker processes
    #[arg(long, default_value_t = 3)]
    pub(crate) workers: usize,
    /// The lease, in milliseconds
    #[arg(long, default_value_t = 1500)]
    pub(crate) lease_ms: u64,
    /// After the last fault no so many seconds may pass without an acknowledgement, until everything is settled
    #[arg(long, default_value_t = 60)]
    pub(crate) bound_s: u64,
    /// Deliveries that may be waiting; more are published as they are acknowledged
    #[arg(long, default_value_t = 300)]
    pub(crate) backlog: usize,
    /// Keep the logs in this folder, for `prove audit` and checker.py
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The campaign.
#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    /// Only goals whose name contains this text
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Multiplies the goals
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Begin no more runs after this time; the next call goes on from the results
    #[arg(long)]
    pub(crate) minutes: Option<f64>,
    /// The file of the results, a line of JSON for each run; without it docs/proof/runs.jsonl
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
}

fn driver(name: &str) -> Result<Driver, String> {
    match name {
        "tokio-postgres" => Ok(Driver::Postgres),
        "sqlx" => Ok(Driver::Sqlx),
        "seaorm" => Ok(Driver::SeaOrm),
        "diesel" => Ok(Driver::Diesel),
        _ => Err("there are tokio-postgres, sqlx, seaorm and diesel".to_owned()),
    }
}

impl RunArgs {
    pub(crate) fn store_kind(&self) -> StoreKind {
        match &*self.store {
            url if url.starts_with("postgres") => StoreKind::Postgres,
            url if url.starts_with("redis") => StoreKind::Redis,
            _ => StoreKind::Sqlite,
        }
    }

    /// The kinds of faults of this run.
    pub(crate) fn kinds(&self) -> Vec<FaultKind> {
        let (store, broker, mode) = (self.store_kind(), self.broker, self.mode);
        let all = <FaultKind as clap::ValueEnum>::value_variants().iter().copied();
        match self.faults.is_empty() {
            true => all.filter(|kind| kind.is_usual() && kind.suits(store, broker, mode)).collect(),
            false => self.faults.clone(),
        }
    }

    /// The kinds of faults of this run, if it can meet them.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn fit_kinds(&self) -> anyhow::Result<Vec<FaultKind>> {
        let kinds = self.kinds();
        if let Some(kind) = kinds.iter().find(|kind| !kind.suits(self.store_kind(), self.broker, self.mode)) {
            anyhow::bail!("--faults {}: this store, broker and class cannot meet it", kind.name());
        }
        let by_their_clocks = [FaultKind::Crash, FaultKind::Pause];
        if kinds.contains(&FaultKind::Clock) && kinds.iter().any(|kind| by_their_clocks.contains(kind)) {
            anyhow::bail!(
                "--faults clock: crash and pause are explained by the clocks that jump; name kill instead"
            );
        }
        Ok(kinds)
    }

    /// True if the store is a file on a disk that is to be full.
    pub(crate) fn fills_a_disk(&self) -> bool {
        self.store_kind() == StoreKind::Sqlite && self.kinds().contains(&FaultKind::StoreFull)
    }

    /// From half of it to one and a half.
    pub(crate) fn about(millis: u64) -> RangeInclusive<Duration> {
        Duration::from_millis(millis / 2)..=Duration::from_millis(millis + millis / 2)
    }

    /// The time between two kills: as short as the source can find out about them.
    pub(crate) fn kill_every(&self) -> RangeInclusive<Duration> {
        let (least, most) = match (self.kill_every_ms, self.broker) {
            (Some(mean), _) => (mean / 2, mean / 2 * 3),
            (None, BrokerKind::Feed) => (60, 200),
            (None, BrokerKind::Rabbitmq) => (300, 900),
            (None, BrokerKind::Kafka) => (1000, 3000),
        };
        Duration::from_millis(least)..=Duration::from_millis(most)
    }
}
