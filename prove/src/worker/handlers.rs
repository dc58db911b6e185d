//! The handlers: an effect between two named points, and the trouble of each message.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{AtMostOnce, Context, Failure, Keyed};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_sqlite::InboxTx;
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_tests::books::{book_in_file, book_on_server};
use anyhow::Context as _;

use super::{Consumer, Task};
use crate::messages::{Trouble, number};
use crate::plan::Mode;

/// Between the steps of an effect, so that a kill finds it at any of them.
const PAUSE: Duration = Duration::from_millis(2);
/// The step of the idempotency key.
const STEP: &str = "effect";

/// The files that a handler writes.
struct Journal {
    starts: Ledger,
    effects: Ledger,
}

impl Journal {
    fn open(task: &Task<'_>) -> std::io::Result<Arc<Self>> {
        let (starts, effects) = (Ledger::open(task.plan.starts())?, Ledger::open(task.plan.effects())?);
        Ok(Arc::new(Self { starts, effects }))
    }

    /// Notes the start of a run, and makes the trouble of its message.
    fn begin(&self, cx: &Context, retried: bool) -> Result<LedgerEntry, Failure> {
        let entry = LedgerEntry::now(cx, STEP);
        self.starts.append(&entry)?;
        match number(&entry.id).map(Trouble::of) {
            Some(Trouble::Refused) => Err(Failure::permanent("refused, as planned")),
            Some(Trouble::FailsOnce) if retried && cx.attempt() == 1 => Err(Failure::from("fails once")),
            Some(Trouble::PanicsOnce) if retried && cx.attempt() == 1 => {
                std::panic::resume_unwind(Box::new("panics once, as planned"))
            }
            _ => Ok(entry),
        }
    }
}

/// Consumes with the handler of the run's mode.
pub(super) async fn work<C: Consumer>(task: &Task<'_>) -> anyhow::Result<()> {
    let journal = Journal::open(task)?;
    // At most once: a failure would be a loss that the mode allows and the audit could not tell from another.
    let retried = task.plan.mode != Mode::AtMostOnce;
    let apart = move |journal: Arc<Journal>| {
        move |cx: Context, _: C::Message| {
            let journal = journal.clone();
            async move {
                journal.begin(&cx, retried)?;
                tokio::time::sleep(PAUSE).await;
                point("before-effect");
                journal.effects.append(&LedgerEntry::now(&cx, STEP))?;
                point("after-effect");
                tokio::time::sleep(PAUSE).await;
                Ok::<_, Failure>(())
            }
        }
    };
    match task.plan.mode {
        Mode::Inbox => inbox::<C>(task, journal).await,
        Mode::Keyed => C::consume(task, Keyed(apart(journal))).await,
        Mode::AtMostOnce => C::consume(task, AtMostOnce(apart(journal))).await,
        _ => C::consume(task, apart(journal)).await,
    }
}

/// An effect in the transaction of its record.
async fn inbox<C: Consumer>(task: &Task<'_>, journal: Arc<Journal>) -> anyhow::Result<()> {
    if let Some(store) = task.store.sqlite() {
        let inbox = store.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &C::Message| {
            book_in_file(tx, &journal.begin(cx, true)?)
        });
        return C::consume(task, inbox).await;
    }
    let store = task.store.postgres().context("class inbox needs SQLite or PostgreSQL")?;
    let schema = task.plan.schema.clone();
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, _: C::Message| {
        let (journal, schema) = (journal.clone(), schema.clone());
        Box::pin(async move { book_on_server(tx, &schema, &journal.begin(&cx, true)?).await })
    });
    C::consume(task, inbox).await
}
