//! The files of a run: its deliveries, its effects, and the faults between them. Both audits read nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::Class;
use ackonce_testkit::crash::History;
use ackonce_testkit::ledger::LedgerEntry;
use ackonce_testkit::lines;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::broker::{BrokerKind, Commit, Published};
use crate::nemesis::{Fault, FaultKind};
use crate::plan::{Group, Mode};

/// The wall clock, in microseconds since the Unix epoch.
pub(crate) fn micros_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// The settings of a run, and its moments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Without secrets.
    pub(crate) store: String,
    pub(crate) broker: BrokerKind,
    pub(crate) mode: Mode,
    /// The name of another library, if its workers were under test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rival: Option<String>,
    /// The group's protocol (Kafka).
    #[serde(default)]
    pub(crate) group: Option<Group>,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<FaultKind>,
    pub(crate) workers: usize,
    pub(crate) lease_ms: u64,
    pub(crate) bound_s: u64,
    pub(crate) began: u64,
    /// When the last fault was over.
    pub(crate) healed: u64,
    /// When each delivery was acknowledged; `None` if that did not happen within the bound.
    pub(crate) through: Option<u64>,
    /// Deliveries that were not acknowledged at the end.
    pub(crate) left: usize,
    /// The store's records by state at the end: claimed, released, done, buried.
    pub(crate) records: [u64; 4],
    /// Class inbox: the balance of the account, which each effect raises by one.
    pub(crate) balance: Option<u64>,
    /// Lines of the effects that a kill has torn.
    pub(crate) torn: usize,
    /// The points at which workers could kill themselves.
    #[serde(default)]
    pub(crate) points: Vec<String>,
    /// Records whose ID nobody can read: those that have to end buried, and those that may be, of topics that were deleted.
    #[serde(default)]
    pub(crate) unreadable: (usize, usize),
    /// The most assignments of partitions that one worker was given (Kafka): each is a rebalance, and there were no fewer.
    #[serde(default)]
    pub(crate) rebalances: usize,
    /// Of the store, the broker and Ackonce.
    #[serde(default)]
    pub(crate) versions: Vec<String>,
    /// The reason for which a run counts for nothing: a fault of the proof that was mended since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set_aside: Option<String>,
    /// Message ID and fence of effects that their worker has logged as not recorded or as to be repeated, or whose handler was
    /// cancelled before it returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_recorded: Vec<(String, u64)>,
}

impl Run {
    /// The class whose promise is judged; `None` for loops by hand and other libraries, of which all is counted.
    pub(crate) fn class(&self) -> Option<Class> {
        self.mode.class().filter(|_| self.rival.is_none())
    }
}

/// Of Ackonce and of these servers; those that scripts/servers has not started have none.
pub(crate) fn versions(names: &[&str]) -> Vec<String> {
    let version = |name: &&str| match *name {
        "sqlite" => Some(format!("sqlite {}", ackonce_sqlite::rusqlite::version())),
        name => {
            let variable = if name == "rabbitmq" { "amqp" } else { name }.to_uppercase();
            let version = std::env::var(format!("ACKONCE_TEST_{variable}_VERSION")).ok()?;
            Some(format!("{name} {version}"))
        }
    };
    let ours = concat!("ackonce ", env!("CARGO_PKG_VERSION")).to_owned();
    std::iter::once(ours).chain(names.iter().filter_map(version)).collect()
}

/// All logs of a run.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) run: Run,
    pub(crate) published: Vec<Published>,
    pub(crate) effects: Vec<LedgerEntry>,
    pub(crate) starts: Vec<LedgerEntry>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) history: History,
}

const RUN: &str = "run.json";
const PUBLISHED: &str = "published.jsonl";
const EFFECTS: &str = "effects.jsonl";
const STARTS: &str = "starts.jsonl";
const COMMITS: &str = "commits.jsonl";
const FAULTS: &str = "faults.jsonl";
/// The burdens of handlers, which their workers write; they end in `FAULTS` with the others.
pub(crate) const HANDLERS: &str = "handlers.jsonl";
const HISTORY: &str = "history.json";

impl Logs {
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let whole = |name| std::fs::read(dir.join(name)).with_context(|| format!("{}/{name}", dir.display()));
        Ok(Self {
            run: serde_json::from_slice(&whole(RUN)?)?,
            history: serde_json::from_slice(&whole(HISTORY)?)?,
            published: read_lines(dir.join(PUBLISHED))?,
            effects: read_lines(dir.join(EFFECTS))?,
            starts: read_lines(dir.join(STARTS))?,
            commits: read_lines(dir.join(COMMITS))?,
            faults: read_lines(dir.join(FAULTS))?,
        })
    }

    /// Writes all but the effects and starts, which the workers have written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        std::fs::write(dir.join(RUN), serde_json::to_vec_pretty(&self.run)?)?;
        std::fs::write(dir.join(HISTORY), serde_json::to_vec(&self.history)?)?;
        write_lines(&dir.join(PUBLISHED), &self.published)?;
        write_lines(&dir.join(COMMITS), &self.commits)?;
        write_lines(&dir.join(FAULTS), &self.faults)
    }

    /// The effects of class inbox, from the store's own database.
    pub(crate) fn write_effects(dir: &Path, effects: &[LedgerEntry]) -> Result<()> {
        write_lines(&dir.join(EFFECTS), effects)
    }
}

pub(crate) fn read_lines<T: for<'de> Deserialize<'de>>(path: PathBuf) -> Result<Vec<T>> {
    let lines = lines::read(&path)?;
    // A line that a kill has torn is no JSON; its writer has ended it.
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn write_lines<T: Serialize>(path: &Path, all: &[T]) -> Result<()> {
    let mut text = Vec::new();
    for one in all {
        serde_json::to_writer(&mut text, one)?;
        text.push(b'\n');
    }
    Ok(std::fs::write(path, text)?)
}
