//! One message of a group: its savepoint, its handler, and the answer after a failure.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ackonce::store::Repeat;
use ackonce::{Context, Error, ErrorKind, Failure};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio_postgres::{Error as PgError, Transaction};

use crate::classify::classify_answer;
use crate::error::undone;
use crate::group::{Group, Undone, ended};
use crate::inbox::InboxOutcome;
use crate::store::{MAX_VALUE_LEN, too_long};

const FIRST: &str = "SAVEPOINT ackonce_item";
const NEXT: &str = "RELEASE SAVEPOINT ackonce_item; SAVEPOINT ackonce_item";
const LAST: &str = "RELEASE SAVEPOINT ackonce_item";
/// The savepoint stays, for the next message.
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT ackonce_item";

const SWALLOWED: &str = "a statement failed and the handler answered success; PostgreSQL refused all later ones \
                         (use a savepoint around statements that may fail)";
const BESIDE: &str = "postgres: the message before it in its transaction left that broken";

/// The state of the savepoint of a group of several messages.
#[derive(Default)]
pub(crate) struct Savepoint {
    is_set: bool,
    /// True until the savepoint of the last successful message was released, which shows that no
    /// statement of its handler failed unnoticed.
    unproven: bool,
}

impl<M, F, T> Group<'_, M, F>
where
    M: Send,
    T: InboxOutcome,
    F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    /// Runs one handler, and rolls it back alone if it fails.
    pub(crate) async fn run_message(
        &mut self,
        tx: &Transaction<'_>,
        n: usize,
        savepoint: &mut Savepoint,
    ) -> Result<(), Undone> {
        let Some(message) = self.messages[n].take() else { return Ok(()) };
        if self.contexts[n].is_cancelled() {
            self.answers[n] = Some(Err(Failure::infrastructure("cancelled before its turn")));
            return Ok(());
        }
        let (inbox, cx, began) = (self.inbox, self.contexts[n].clone(), Instant::now());
        let handling = AssertUnwindSafe(async move { (inbox.handler)(tx, cx, message).await }).catch_unwind();
        // A message alone needs no savepoint: the transaction serves as one.
        let alone = self.contexts.len() == 1;
        let ran = if alone { Some(handling.await) } else { self.behind(tx, handling, savepoint).await? };
        let Some(ran) = ran else {
            let error = Error::new(ErrorKind::Unavailable, BESIDE).with_repeat(Repeat::Safe);
            self.answers[n] = Some(Err(Failure::Store(error)));
            return Ok(());
        };
        match classify_answer(ran).and_then(fits).map_err(|failure| self.overslept(began, failure)) {
            Ok(outcome) => {
                self.done.push((n, self.settlement(n, outcome)));
                savepoint.unproven = true;
            }
            Err(failure) => {
                self.answers[n] = Some(Err(failure));
                if !alone {
                    tx.batch_execute(ROLL_BACK).await.map_err(lost)?;
                }
            }
        }
        Ok(())
    }

    /// Releases the savepoint of the last message.
    pub(crate) async fn last(
        &mut self,
        tx: &Transaction<'_>,
        savepoint: &mut Savepoint,
    ) -> Result<(), Undone> {
        match savepoint.unproven && self.contexts.len() > 1 {
            true => self.set(tx, LAST, savepoint).await,
            false => Ok(()),
        }
    }

    /// Sets the savepoint, and sends the handler's first statement at once, which saves a round trip for each message,
    /// unless the inbox has a reason to wait for the answer. `None` if the savepoint was refused and the handler dropped.
    async fn behind<R>(
        &mut self,
        tx: &Transaction<'_>,
        handling: impl Future<Output = R>,
        savepoint: &mut Savepoint,
    ) -> Result<Option<R>, Undone> {
        let text = if savepoint.is_set { NEXT } else { FIRST };
        if self.inbox.swallows.load(Ordering::Relaxed) {
            self.set(tx, text, savepoint).await?;
            return Ok(Some(handling.await));
        }
        let setting = pin!(tx.batch_execute(text));
        // The savepoint is polled first, and the driver sends in the order of the first polls.
        let (set, ran) = match select(setting, pin!(handling)).await {
            Either::Left((Ok(()), handling)) => (Ok(()), Some(handling.await)),
            Either::Left((refused, _)) => (refused, None),
            Either::Right((ran, setting)) => (setting.await, Some(ran)),
        };
        let was_set = set.is_ok();
        self.heard(tx, set, savepoint).await?;
        Ok(ran.filter(|_| was_set))
    }

    async fn set(
        &mut self,
        tx: &Transaction<'_>,
        text: &str,
        savepoint: &mut Savepoint,
    ) -> Result<(), Undone> {
        let set = tx.batch_execute(text).await;
        self.heard(tx, set, savepoint).await
    }

    /// Reads the answer to a savepoint. It is refused if a statement of the last handler failed and it answered success
    /// (which is rolled back), or if it ended the transaction. Such handlers do so again: from now on each handler waits for
    /// the answer.
    async fn heard(
        &mut self,
        tx: &Transaction<'_>,
        set: Result<(), PgError>,
        savepoint: &mut Savepoint,
    ) -> Result<(), Undone> {
        if let Err(error) = set {
            let classified = swallowed(error);
            if !matches!(classified, Err(Undone::All(_))) {
                self.inbox.swallows.store(true, Ordering::Relaxed);
            }
            let failure = classified?;
            let culprit = self.done.pop().filter(|_| savepoint.unproven);
            let (n, _) = culprit.ok_or_else(|| Undone::All(ended()))?;
            self.answers[n] = Some(Err(failure));
            tx.batch_execute(ROLL_BACK).await.map_err(lost)?;
        }
        *savepoint = Savepoint { is_set: true, unproven: false };
        Ok(())
    }

    /// Charges an attempt if the handler exceeded the idle timeout. The server then ends the transaction, and the driver
    /// reports a lost connection only; as the server's failure, such a message would run for ever.
    fn overslept(&self, began: Instant, failure: Failure) -> Failure {
        match (failure, self.inbox.settings.idle_timeout) {
            (Failure::Store(error), Some(most)) if began.elapsed() >= most => Failure::Retry(error.into()),
            (failure, _) => failure,
        }
    }
}

fn fits(outcome: impl InboxOutcome) -> Result<Option<Bytes>, Failure> {
    let outcome = outcome.into_outcome();
    match outcome.as_ref().map(Bytes::len).filter(|len| *len > MAX_VALUE_LEN) {
        Some(len) => Err(Failure::permanent(too_long(len))),
        None => Ok(outcome),
    }
}

/// The store's statement after a handler's success was refused, because a statement of the handler failed or
/// because the whole transaction has ended.
pub(crate) fn swallowed(error: PgError) -> Result<Failure, Undone> {
    match error.code().map(|code| code.code()) {
        Some("25P02") => Ok(Failure::Retry(SWALLOWED.into())),
        _ => Err(lost(error)),
    }
}

/// A missing savepoint or transaction means that the handler has ended it, with an unknown result. Otherwise the
/// connection is lost, and the transaction with it.
pub(crate) fn lost(error: PgError) -> Undone {
    match error.code().map(|code| code.code()) {
        Some("3B001" | "25P01") => Undone::Each(|error| Failure::unknown(error.clone()), ended()),
        _ => Undone::All(undone("running an inbox transaction", error)),
    }
}
