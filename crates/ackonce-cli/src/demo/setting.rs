//! The setting of a run: its directory, the store under test, the ledgers.

use std::path::{Path, PathBuf};

use ackonce::Deduplicator as _;
use ackonce::adapter::Guarantee;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::args::{DemoArgs, DemoClass};
use super::arm::{Arm, ArmFiles};
use crate::ledger::Table;
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
    /// Effects are rows of the store's database; with the number of the last earlier row.
    rows: Option<(Table, i64)>,
    /// It drives the connections of a store.
    runtime: Runtime,
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
        check(&url, args.class)?;
        let runtime = Runtime::new().context("starting a runtime")?;
        let store = runtime.block_on(url.open()).with_context(|| format!("opening --store {url}"))?;
        let guarantee = Guarantee { class: args.class.class(), store: store.deduplicator().describe() };
        let rows = match args.class {
            DemoClass::Inbox => Table::of(&url, &store).map(|table| {
                let last = runtime.block_on(async {
                    table.create().await?;
                    table.last().await
                });
                last.map(|last| (table, last))
                    .with_context(|| format!("making the table `ledger` in --store {url}"))
            }),
            _ => None,
        };
        Ok(Self {
            directory,
            store: url.with_secrets().to_owned(),
            rows: rows.transpose()?,
            runtime,
            guarantee,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves the files for a person to look at.
    pub(crate) fn keep(self) -> PathBuf {
        self.directory.keep()
    }

    /// The effects of an arm, in order.
    pub(crate) fn effects(&self, arm: Arm, files: &ArmFiles) -> Result<Vec<LedgerEntry>> {
        match (arm, &self.rows) {
            (Arm::Ackonce, Some((table, before))) => {
                self.runtime.block_on(table.read(*before)).context("reading the table `ledger`")
            }
            _ => Ok(Ledger::read(files.ledger())?.entries),
        }
    }
}

/// Refuses stores that cannot take part.
fn check(url: &StoreUrl, class: DemoClass) -> Result<(), UsageError> {
    let why = match (url.place(), class) {
        (Place::Memory, _) => {
            "--store memory: is forgotten with each worker that is killed, and no other worker sees it; use sqlite:PATH"
        }
        (_, DemoClass::Inbox) if !url.has_inbox() => {
            "--class inbox keeps its effects in the store's database: use --store sqlite:PATH or postgres://, or \
             --class leased or keyed with this --store"
        }
        _ => return Ok(()),
    };
    Err(UsageError(why.into()))
}
