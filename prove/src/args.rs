//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ackonce_tests::drivers::Driver;
use clap::{Args, Parser, Subcommand};

use crate::broker::BrokerKind;
use crate::nemesis::{FaultKind, StoreKind};
use crate::plan::Mode;
use crate::plant::PlantArgs;

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
    /// Make the runs of docs/PROOF.md, and print their totals
    Campaign(CampaignArgs),
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
    /// Kinds of faults, by commas; without it all that store and broker can meet
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) faults: Vec<FaultKind>,
    /// The length of the chaos
    #[arg(long, default_value_t = 1.0)]
    pub(crate) minutes: f64,
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
    /// Everything must be settled so many seconds after the last fault
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
    /// Only runs whose line contains this text
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Multiplies the kills of each run
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Append each verdict to this file, as a line of JSON
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
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
        let (store, broker) = (self.store_kind(), self.broker);
        let all = <FaultKind as clap::ValueEnum>::value_variants().iter().copied();
        match self.faults.is_empty() {
            true => all.filter(|kind| kind.suits(store, broker)).collect(),
            false => self.faults.clone(),
        }
    }

    /// The time between two kills: as short as the source can find out about them.
    pub(crate) fn kill_every(&self) -> RangeInclusive<Duration> {
        let (least, most) = match self.broker {
            BrokerKind::Feed => (60, 200),
            BrokerKind::Rabbitmq => (300, 900),
            BrokerKind::Kafka => (1000, 3000),
        };
        Duration::from_millis(least)..=Duration::from_millis(most)
    }
}
