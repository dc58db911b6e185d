//! One run of an inbox handler, on the writer thread.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{MAX_VALUE_LEN, Settle, Settled, Settlement, Suspects, value_too_long};
use ackonce::{Answer, Context, Effect, Error, ErrorKind, Failure, Item, protocol};
use bytes::Bytes;
use rusqlite::Transaction;
use tokio::sync::oneshot;

use super::classify::{Rollback, classify_answer, panicked};
use super::transaction::InboxTx;
use crate::clock::micros;
use crate::connection::SAVEPOINT;
use crate::error::{breaks_connection, rolled_back};
use crate::records::write::names_of;
use crate::writer::command::{Command, CommandContext, GroupOutcome};

/// A message to run `F` for.
pub(super) struct HandlerRun<M, T, F> {
    item: Item<M>,
    handler: Arc<F>,
    window: Duration,
    suspects: Suspects,
    /// The answer of this run, as far as the group does not change it.
    own: Option<Answer>,
    /// True if this handler made the group fail: its answer then stands although the group failed.
    culprit: bool,
    reply: oneshot::Sender<Answer>,
    returns: PhantomData<fn() -> T>,
}

/// The state of a run's claim before the handler runs.
#[derive(PartialEq, Eq)]
enum ClaimStatus {
    Held,
    /// This attempt has completed the message before.
    Completed,
}

impl<M, T, F> HandlerRun<M, T, F>
where
    T: Into<Effect>,
    F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure>,
{
    pub(super) fn new(
        item: Item<M>,
        handler: Arc<F>,
        window: Duration,
        suspects: Suspects,
        reply: oneshot::Sender<Answer>,
    ) -> Self {
        let (own, culprit, returns) = (None, false, PhantomData);
        Self { item, handler, window, suspects, own, culprit, reply, returns }
    }

    fn attempt(&self, cx: &CommandContext<'_>) -> Result<(), Rollback> {
        if self.check_claim(cx)? == ClaimStatus::Completed {
            return Ok(());
        }
        savepoint(cx.tx, "SAVEPOINT")?;
        match self.run_and_complete(cx) {
            Ok(()) => Ok(savepoint(cx.tx, "RELEASE")?),
            Err(Rollback::Item(failure)) => {
                savepoint(cx.tx, "ROLLBACK TO")?;
                savepoint(cx.tx, "RELEASE")?;
                Err(Rollback::Item(failure))
            }
            Err(group) => Err(group),
        }
    }

    /// Checks that the claim is still this attempt's. This happens before the handler runs, because a commit whose
    /// answer was lost may have completed the message: a second run would double the effect.
    fn check_claim(&self, cx: &CommandContext<'_>) -> Result<ClaimStatus, Rollback> {
        if self.item.cx.is_cancelled() {
            return Err(Rollback::Item(Failure::infrastructure("cancelled before its turn")));
        }
        let lease = self.item.cx.lease();
        let (now, record_key) = (cx.clock.now(), cx.records.record_key(&lease.key));
        let found = match cx.records.lookup(&record_key, Some(lease.token), now) {
            Ok(found) => found,
            Err(e) if breaks_connection(&e) => return Err(e.into()),
            Err(e) => return Err(Rollback::Item(Failure::Store(e))),
        };
        if let Some(found) = found.as_ref().filter(|found| found.shifted) {
            cx.records.write(&record_key, names_of(&lease.key), &found.row, Some(found.location), now)?;
        }
        let complete = Settle::Complete { window: self.window, outcome: None };
        match protocol::settle(found.as_ref().map(|f| &f.row), &Settlement::new(lease, complete), now) {
            (Settled::Yes, Some(_)) => Ok(ClaimStatus::Held),
            (Settled::Yes, None) => Ok(ClaimStatus::Completed),
            (Settled::Lost, _) => Err(Rollback::Item(Failure::Fenced)),
        }
    }

    /// Runs the handler, then the completion as the last statement.
    fn run_and_complete(&self, cx: &CommandContext<'_>) -> Result<(), Rollback> {
        let tx = InboxTx::new(cx.tx);
        cx.authorizer.restrict(true);
        let answer =
            catch_unwind(AssertUnwindSafe(|| (self.handler)(&tx, &self.item.cx, &self.item.message)));
        cx.authorizer.restrict(false);
        let failed = tx.into_failed();
        let answer = answer.unwrap_or_else(|panic| Err(panicked(&*panic)));
        let outcome = classify_answer(cx.tx, answer, failed)?.into().into_outcome();
        let len = outcome.as_ref().map_or(0, Bytes::len);
        if len > MAX_VALUE_LEN {
            return Err(Rollback::Item(Failure::permanent(value_too_long("sqlite", len))));
        }
        let now = cx.clock.now();
        if let Some(along) = self.item.cx.take_along() {
            settle_along(cx, &along, now)?;
        }
        let expires = now.saturating_add(micros(self.window));
        if cx.records.complete(self.item.cx.lease(), outcome.as_ref(), expires, now)? {
            Ok(())
        } else {
            Err(Rollback::Item(Failure::Fenced))
        }
    }
}

/// Settles a claim beside the message's own, in its transaction.
fn settle_along(cx: &CommandContext<'_>, along: &Settlement, now: u64) -> Result<(), Rollback> {
    let record_key = cx.records.record_key(&along.key);
    let found = cx.records.lookup(&record_key, Some(along.token), now)?;
    match protocol::settle(found.as_ref().map(|found| &found.row), along, now) {
        (Settled::Lost, _) => Err(Rollback::Item(Failure::Fenced)),
        (Settled::Yes, None) => Ok(()),
        (Settled::Yes, Some(row)) => Ok(cx.records.write(
            &record_key,
            names_of(&along.key),
            &row,
            found.map(|found| found.location),
            now,
        )?),
    }
}

fn savepoint(tx: &Transaction<'_>, verb: &str) -> Result<(), Error> {
    tx.execute_batch(&format!("{verb} {SAVEPOINT}")).map_err(|e| rolled_back("a savepoint", e))
}

impl<M, T, F> Command for HandlerRun<M, T, F>
where
    M: Send,
    T: Into<Effect>,
    F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure> + Send + Sync,
{
    fn rows(&self) -> usize {
        1
    }

    fn runs_alone(&self) -> bool {
        self.suspects.has(self.item.cx.key())
    }

    fn runs_user_code(&self) -> bool {
        true
    }

    fn run(&mut self, cx: &CommandContext<'_>) -> Result<usize, Error> {
        if self.reply.is_closed() {
            return Ok(0);
        }
        match self.attempt(cx) {
            Ok(()) => {
                self.own = Some(Effect::recorded(Settled::Yes).ok_or(Failure::Fenced));
                Ok(1)
            }
            Err(Rollback::Item(failure)) => {
                self.own = Some(Err(failure));
                Ok(0)
            }
            Err(Rollback::Group(error, failure)) => {
                self.culprit = failure.is_some();
                self.own = failure.map(Err);
                Err(error)
            }
        }
    }

    fn met_full_store(&self) -> bool {
        matches!(&self.own, Some(Err(Failure::Store(error))) if error.kind() == ErrorKind::Full)
    }

    fn answer(self: Box<Self>, outcome: &GroupOutcome) {
        let key = self.item.cx.key();
        let succeeded = matches!(self.own, Some(Ok(_)));
        let answer = match outcome {
            GroupOutcome::Committed => {
                self.suspects.remove(key);
                self.own.unwrap_or_else(|| Err(Failure::infrastructure("nobody waited for it")))
            }
            // It stays a suspect: its next attempts run alone too.
            GroupOutcome::Refused(error) if succeeded && self.suspects.has(key) => {
                Err(Failure::Retry(error.clone().into()))
            }
            GroupOutcome::Refused(error) | GroupOutcome::Failed(error) => match self.own {
                // It failed by itself, so its work is undone either way.
                Some(Err(failure)) if self.culprit || !matches!(failure, Failure::Fenced) => Err(failure),
                // Its work, and the data that it read, are undone.
                _ => {
                    if succeeded && matches!(outcome, GroupOutcome::Refused(_)) {
                        self.suspects.add([key]);
                    }
                    Err(Failure::Store(error.clone()))
                }
            },
        };
        let _ = self.reply.send(answer);
    }
}
