//! Where a run takes place: its directory, the store under test, the ledgers.

use std::path::{Path, PathBuf};

use ackonce::{Deduplicator as _, Guarantee};
use ackonce_testkit::ledger::{Entry, Ledger};
use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::args::{DemoArgs, DemoClass};
use super::arm::{Arm, ArmFiles};
use crate::ledger;
use crate::stores::{Place, StoreUrl};

/// Wrong usage that only shows when flags are seen together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub(crate) String);

/// The place of one run.
#[derive(Debug)]
pub(crate) struct Setting {
    directory: TempDir,
    pub(crate) store: String,
    /// The store's file, where effects are rows of it.
    pub(crate) database: Option<PathBuf>,
    /// Rows that were in its ledger before.
    rows_before: i64,
    pub(crate) guarantee: Guarantee,
}

impl Setting {
    pub(crate) fn new(args: &DemoArgs) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("ackonce-demo-")
            .tempdir()
            .context("making a temporary directory; TMPDIR says where")?;
        let url = match &args.store {
            Some(url) => url.clone(),
            None => {
                format!("sqlite:{}", directory.path().join("ackonce.db").display()).parse::<StoreUrl>()?
            }
        };
        let database = check(&url, args.class)?;
        let runtime = Runtime::new().context("starting a runtime")?;
        let store = runtime.block_on(url.open()).context("opening the --store")?.deduplicator();
        let guarantee = Guarantee { class: args.class.class(), store: store.describe() };
        let mut rows_before = 0;
        if let Some(database) = &database {
            ledger::create(database).context("making the table `ledger` in the --store")?;
            rows_before = ledger::last(database)?;
        }
        Ok(Self { directory, store: url.with_secrets().to_owned(), database, rows_before, guarantee })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves the files for a person to look at.
    pub(crate) fn keep(self) -> PathBuf {
        self.directory.keep()
    }

    /// What really happened in an arm, in order.
    pub(crate) fn effects(&self, arm: Arm, files: &ArmFiles) -> Result<Vec<Entry>> {
        match (arm, &self.database) {
            (Arm::Ackonce, Some(database)) => Ok(ledger::read(database, self.rows_before)?),
            _ => Ok(Ledger::read(files.ledger())?.entries),
        }
    }
}

/// The file of an inbox; refuses stores that cannot take part.
fn check(url: &StoreUrl, class: DemoClass) -> Result<Option<PathBuf>> {
    match (url.place(), class) {
        (Place::Memory, _) => {
            let why = "--store memory: is forgotten with each worker that is killed, and no other worker sees it; use sqlite:PATH";
            Err(UsageError(why.into()).into())
        }
        (Place::Sqlite(url), DemoClass::Inbox) => Ok(Some(url.path().to_owned())),
        (_, DemoClass::Inbox) => {
            let why = "--class inbox keeps its effects in the store's database, which the demo does with sqlite: only; \
                       use --class leased or keyed with this --store";
            Err(UsageError(why.into()).into())
        }
        (Place::Sqlite(_) | Place::Redis(_) | Place::Postgres(_), _) => Ok(None),
    }
}
