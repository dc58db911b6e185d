//! The effect of the examples: a line in a file, or a row in the store's database, that can be counted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Answer, Class, Context, Failure, Handler, Item};
use ackonce_cli::ledger::{self, INSERT};
use ackonce_cli::stores::{Opened, Place};
use ackonce_sqlite::{InboxTx, SqliteStore};
use ackonce_testkit::ledger::{Entry, Ledger};
use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;

use crate::Flags;

/// An effect outside of the store: a line appended to the file of `--ledger`.
#[derive(Debug, Clone)]
pub struct ToFile {
    file: Arc<Ledger>,
    trouble: Trouble,
}

/// What is asked of the handler besides its effect.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    delay: Duration,
    fail_first: u32,
}

impl Trouble {
    fn of(flags: &Flags) -> Self {
        Self { delay: Duration::from_millis(flags.delay_ms), fail_first: flags.fail_first }
    }

    fn fail(&self, cx: &Context) -> Result<(), Failure> {
        if cx.attempt() <= self.fail_first {
            let why = format!("--fail-first {}: attempt {} fails", self.fail_first, cx.attempt());
            return Err(Failure::Retry(why.into()));
        }
        Ok(())
    }
}

impl ToFile {
    /// # Errors
    /// The file cannot be opened.
    pub fn new(flags: &Flags) -> Result<Self> {
        let file =
            Ledger::open(&flags.ledger).with_context(|| format!("--ledger {}", flags.ledger.display()))?;
        Ok(Self { file: Arc::new(file), trouble: Trouble::of(flags) })
    }

    /// What the handler does. The line carries the idempotency key, as a request to a payment API would.
    ///
    /// # Errors
    /// Those of `--fail-first` and of writing.
    pub async fn apply(self, cx: Context) -> Result<(), Failure> {
        tokio::time::sleep(self.trouble.delay).await;
        self.trouble.fail(&cx)?;
        Ok(self.file.append(&Entry::now(&cx, "effect"))?)
    }
}

/// An effect in the store's own database: a row of its table `ledger`.
#[derive(Debug, Clone, Copy)]
pub struct ToTable {
    trouble: Trouble,
}

impl ToTable {
    /// Makes the table where it is missing.
    ///
    /// # Errors
    /// The store has no inbox, or the table cannot be made.
    pub fn new<'s>(flags: &Flags, store: &'s Opened) -> Result<(Self, &'s SqliteStore)> {
        let (Place::Sqlite(url), Some(sqlite)) = (flags.store.place(), store.sqlite()) else {
            bail!("class inbox commits effect and record in one database; use --store sqlite:PATH");
        };
        create(url.path())?;
        Ok((Self { trouble: Trouble::of(flags) }, sqlite))
    }

    /// What the handler does, in the transaction that records the message.
    ///
    /// # Errors
    /// Those of `--fail-first` and of the database.
    pub fn apply(&self, tx: &InboxTx<'_>, cx: &Context) -> Result<(), Failure> {
        self.trouble.fail(cx)?;
        tx.prepare(INSERT)?.execute(ledger::values(&Entry::now(cx, "effect")))?;
        Ok(())
    }

    /// The handler with its `--delay-ms`, slept before the transaction: a store has one writer, and all its
    /// users wait for a transaction.
    #[must_use]
    pub fn delayed<H>(&self, handler: H) -> Delayed<H> {
        Delayed { handler, delay: self.trouble.delay }
    }
}

fn create(path: &Path) -> Result<()> {
    ledger::create(path).with_context(|| format!("making the table `ledger` in {}", path.display()))
}

/// A handler that begins with a sleep.
#[derive(Debug)]
pub struct Delayed<H> {
    handler: H,
    delay: Duration,
}

#[async_trait]
impl<M: Send + 'static, H: Handler<M>> Handler<M> for Delayed<H> {
    fn class(&self) -> Class {
        self.handler.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        tokio::time::sleep(self.delay).await;
        self.handler.handle(items).await
    }
}
