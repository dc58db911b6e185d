//! The handlers: an effect between two named points, and the trouble of each message.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{AtMostOnce, Context, Failure, Keyed};
use ackonce_sqlite::InboxTx;
use ackonce_testkit::crash::point;
use ackonce_tests::books::{book_in_file, book_on_server};
use ackonce_tests::drivers::{Act, Pool};
use anyhow::Context as _;

use super::burden::Burden;
use super::journal::{Journal, make};
use super::{Consumer, Task};
use crate::messages::Trouble;
use crate::plan::Mode;

/// Between the steps of an effect, so that a kill finds it at any of them.
const PAUSE: Duration = Duration::from_millis(2);

/// Consumes with the handler of the run's mode.
pub(super) async fn work<C: Consumer>(task: &Task<'_>) -> anyhow::Result<()> {
    let journal = Journal::open(task)?;
    // At most once: a failure would be a loss that the mode allows and the audit could not tell from another.
    let retried = task.plan.mode != Mode::AtMostOnce;
    let apart = move |journal: Arc<Journal>| {
        move |cx: Context, _: C::Message| {
            let journal = journal.clone();
            async move {
                let (_, burden, trouble) = journal.start(&cx, retried)?;
                bear(burden, false).await;
                make(trouble)?;
                tokio::time::sleep(PAUSE).await;
                point("before-effect");
                let unreturned = Journal::take_effect(&journal, &cx)?;
                point("after-effect");
                bear(burden, true).await;
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

async fn bear(burden: Option<Burden>, after_effect: bool) {
    if let Some(burden) = burden {
        burden.bear(after_effect).await;
    }
}

/// An effect in the transaction of its record.
async fn inbox<C: Consumer>(task: &Task<'_>, journal: Arc<Journal>) -> anyhow::Result<()> {
    if let Some(store) = task.store.sqlite() {
        let inbox = store.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &C::Message| {
            let (entry, burden, trouble) = journal.start(cx, true)?;
            if let Some(burden) = burden {
                burden.bear_blocking();
            }
            make(trouble)?;
            book_in_file(tx, &entry)
        });
        return C::consume(task, inbox).await;
    }
    let store = task.store.postgres().context("class inbox needs SQLite or PostgreSQL")?;
    let (schema, pool) = (task.plan.schema.clone(), Pool::new(task.store_address()));
    let script = move |cx: &Context, _: C::Message| match journal.start(cx, true) {
        Ok((entry, burden, Trouble::None)) => {
            let mut acts = vec![Act::wait(move || bear(burden, false))];
            acts.extend(book_on_server(&schema, &entry));
            acts.push(Act::wait(move || bear(burden, true)));
            acts
        }
        Ok((_, _, Trouble::Refused)) => vec![Act::Refuse],
        Ok((_, _, Trouble::PanicsOnce)) => vec![Act::Panic],
        Ok((_, _, Trouble::FailsOnce)) | Err(_) => vec![Act::Fail],
    };
    let inbox = task.plan.driver.inbox(store, &pool, Arc::new(script)).await;
    C::consume(task, inbox).await
}
