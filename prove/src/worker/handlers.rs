//! The handlers: an effect between two named points, and the trouble of each message.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{AtMostOnce, Context, Failure, Keyed};
use ackonce_sqlite::InboxTx;
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_tests::books::{book_in_file, book_on_server};
use ackonce_tests::drivers::{Act, Pool};
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
    cancelled: Ledger,
}

/// An effect whose handler has not returned. If it is dropped before, cancelled with its lease, the journal says so: nobody
/// records the effect.
struct Unreturned(Arc<Journal>, Option<LedgerEntry>);

impl Unreturned {
    fn returns(mut self) {
        self.1 = None;
    }
}

impl Drop for Unreturned {
    fn drop(&mut self) {
        if let Some(entry) = self.1.take()
            && let Err(error) = self.0.cancelled.append(&entry)
        {
            eprintln!("a cancelled handler could not be noted: {error}");
        }
    }
}

impl Journal {
    fn open(task: &Task<'_>) -> std::io::Result<Arc<Self>> {
        let plan = task.plan;
        let (starts, effects) = (Ledger::open(plan.starts())?, Ledger::open(plan.effects())?);
        Ok(Arc::new(Self { starts, effects, cancelled: Ledger::open(plan.cancelled())? }))
    }

    /// Notes the start of a run, and tells the trouble that its message makes now.
    fn start(&self, cx: &Context, retried: bool) -> std::io::Result<(LedgerEntry, Trouble)> {
        let entry = LedgerEntry::now(cx, STEP);
        self.starts.append(&entry)?;
        let trouble = match number(&entry.id).map(Trouble::of) {
            Some(Trouble::Refused) => Trouble::Refused,
            Some(trouble) if retried && cx.attempt() == 1 => trouble,
            _ => Trouble::None,
        };
        Ok((entry, trouble))
    }

    /// The same, and makes the trouble.
    fn begin(&self, cx: &Context, retried: bool) -> Result<LedgerEntry, Failure> {
        match self.start(cx, retried)? {
            (entry, Trouble::None) => Ok(entry),
            (_, Trouble::Refused) => Err(Failure::permanent("refused, as planned")),
            (_, Trouble::FailsOnce) => Err(Failure::from("fails once, as planned")),
            (_, Trouble::PanicsOnce) => std::panic::resume_unwind(Box::new("panics once, as planned")),
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
                let effect = LedgerEntry::now(&cx, STEP);
                journal.effects.append(&effect)?;
                let unreturned = Unreturned(journal, Some(effect));
                point("after-effect");
                tokio::time::sleep(PAUSE).await;
                unreturned.returns();
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
    let (schema, pool) = (task.plan.schema.clone(), Pool::new(task.store_address()));
    let script = move |cx: &Context, _: C::Message| match journal.start(cx, true) {
        Ok((entry, Trouble::None)) => book_on_server(&schema, &entry),
        Ok((_, Trouble::Refused)) => vec![Act::Refuse],
        Ok((_, Trouble::PanicsOnce)) => vec![Act::Panic],
        Ok((_, Trouble::FailsOnce)) | Err(_) => vec![Act::Fail],
    };
    let inbox = task.plan.driver.inbox(store, &pool, Arc::new(script)).await;
    C::consume(task, inbox).await
}
