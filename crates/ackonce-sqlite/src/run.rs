//! One run of an inbox handler, on the writer thread.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackonce::store::{Settle, Settled, Settlement};
use ackonce::{Answer, Context, Effect, Error, ErrorKind, Failure, Item, protocol};
use bytes::Bytes;
use rusqlite::Transaction;
use tokio::sync::oneshot;

use crate::answer::{classify_answer, panic_text};
use crate::authorize::SAVEPOINT;
use crate::error::{breaks_connection, rolled_back};
use crate::store::{MAX_VALUE_LEN, too_long};
use crate::writer::{Outcome, Turn, Work};
use crate::{InboxTx, clock};

/// Messages of a group whose commit was refused because of a deferred constraint. SQLite does not say which of them
/// violated it, so each runs alone until it has committed: this identifies the culprit, and only the culprit is
/// charged an attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Suspects(Arc<Mutex<HashSet<[u8; 32]>>>);

/// More messages than one group can hold.
const MAX_SUSPECTS: usize = 1 << 14;

impl Suspects {
    fn add(&self, digest: [u8; 32]) {
        let mut suspects = self.lock();
        // Some suspects never come again (buried, or taken over by another process).
        if suspects.len() >= MAX_SUSPECTS {
            suspects.clear();
        }
        suspects.insert(digest);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message to run `F` for.
pub(crate) struct Run<M, T, F> {
    item: Item<M>,
    handler: Arc<F>,
    window: Duration,
    suspects: Suspects,
    verdict: Option<Answer>,
    /// True if this handler made the group fail: its answer then stands although the group failed.
    culprit: bool,
    reply: oneshot::Sender<Answer>,
    returns: PhantomData<fn() -> T>,
}

/// The extent to which a handler's work was undone.
pub(crate) enum Undone {
    /// Only this message.
    Item(Failure),
    /// The whole group; with the culprit's own answer if the handler caused it.
    Group(Error, Option<Failure>),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Group(error, None)
    }
}

impl<M, T, F> Run<M, T, F>
where
    T: Into<Effect>,
    F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure>,
{
    pub(crate) fn new(
        item: Item<M>,
        handler: Arc<F>,
        window: Duration,
        suspects: Suspects,
        reply: oneshot::Sender<Answer>,
    ) -> Self {
        let (verdict, culprit, returns) = (None, false, PhantomData);
        Self { item, handler, window, suspects, verdict, culprit, reply, returns }
    }

    fn attempt(&self, turn: &Turn<'_>) -> Result<(), Undone> {
        if self.stands(turn)? == Standing::Recorded {
            return Ok(());
        }
        savepoint(turn.tx, "SAVEPOINT")?;
        match self.effect(turn) {
            Ok(()) => Ok(savepoint(turn.tx, "RELEASE")?),
            Err(Undone::Item(failure)) => {
                savepoint(turn.tx, "ROLLBACK TO")?;
                savepoint(turn.tx, "RELEASE")?;
                Err(Undone::Item(failure))
            }
            Err(group) => Err(group),
        }
    }

    /// Checks that the claim is still this attempt's. This happens before the handler runs, because a commit whose
    /// answer was lost may have completed the message: a second run would double the effect.
    fn stands(&self, turn: &Turn<'_>) -> Result<Standing, Undone> {
        if self.item.cx.is_cancelled() {
            return Err(Undone::Item(Failure::infrastructure("cancelled before its turn")));
        }
        let lease = self.item.cx.lease();
        let (now, name) = (turn.clock.now(), turn.records.record_key(&lease.key));
        let found = match turn.records.lookup(&name, Some(lease.token), now) {
            Ok(found) => found,
            Err(e) if breaks_connection(&e) => return Err(e.into()),
            Err(e) => return Err(Undone::Item(Failure::Store(e))),
        };
        if let Some(found) = found.as_ref().filter(|found| found.moved) {
            turn.records.write(&name, &lease.key, &found.row, Some(found.home), now)?;
        }
        let complete = Settle::Complete { window: self.window, outcome: None };
        match protocol::settle(found.as_ref().map(|f| &f.row), &Settlement::new(lease, complete), now) {
            (Settled::Yes, Some(_)) => Ok(Standing::Ours),
            (Settled::Yes, None) => Ok(Standing::Recorded),
            (Settled::Lost, _) => Err(Undone::Item(Failure::Fenced)),
        }
    }

    /// Runs the handler, then the completion as the last statement.
    fn effect(&self, turn: &Turn<'_>) -> Result<(), Undone> {
        let watched = InboxTx::new(turn.tx);
        turn.handling.set(true);
        let ran =
            catch_unwind(AssertUnwindSafe(|| (self.handler)(&watched, &self.item.cx, &self.item.message)));
        turn.handling.set(false);
        let failed = watched.into_failed();
        let ran = ran.unwrap_or_else(|panic| Err(Failure::Retry(panic_text(&*panic).into())));
        let outcome = classify_answer(turn.tx, ran, failed)?.into().into_outcome();
        if let Some(len) = outcome.as_ref().map(Bytes::len).filter(|len| *len > MAX_VALUE_LEN) {
            return Err(Undone::Item(Failure::permanent(too_long(len))));
        }
        let now = turn.clock.now();
        let expires = now.saturating_add(clock::micros(self.window));
        if turn.records.complete(self.item.cx.lease(), outcome.as_ref(), expires, now)? {
            Ok(())
        } else {
            Err(Undone::Item(Failure::Fenced))
        }
    }
}

#[derive(PartialEq, Eq)]
enum Standing {
    Ours,
    Recorded,
}

fn savepoint(tx: &Transaction<'_>, verb: &str) -> Result<(), Error> {
    tx.execute_batch(&format!("{verb} {SAVEPOINT}")).map_err(|e| rolled_back("a savepoint", e))
}

impl<M, T, F> Work for Run<M, T, F>
where
    M: Send,
    T: Into<Effect>,
    F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure> + Send + Sync,
{
    fn rows(&self) -> usize {
        1
    }

    fn alone(&self) -> bool {
        self.suspects.lock().contains(self.item.cx.key().digest())
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn run(&mut self, turn: &Turn<'_>) -> Result<usize, Error> {
        if self.reply.is_closed() {
            return Ok(0);
        }
        match self.attempt(turn) {
            Ok(()) => {
                self.verdict = Some(Effect::recorded(Settled::Yes).ok_or(Failure::Fenced));
                Ok(1)
            }
            Err(Undone::Item(failure)) => {
                self.verdict = Some(Err(failure));
                Ok(0)
            }
            Err(Undone::Group(error, failure)) => {
                self.culprit = failure.is_some();
                self.verdict = failure.map(Err);
                Err(error)
            }
        }
    }

    fn met_full(&self) -> bool {
        matches!(&self.verdict, Some(Err(Failure::Store(error))) if error.kind() == ErrorKind::Full)
    }

    fn answer(self: Box<Self>, outcome: &Outcome) {
        let digest = *self.item.cx.key().digest();
        let succeeded = matches!(self.verdict, Some(Ok(_)));
        let answer = match outcome {
            Outcome::Committed => {
                self.suspects.lock().remove(&digest);
                self.verdict.unwrap_or_else(|| Err(Failure::infrastructure("nobody waited for it")))
            }
            // It stays a suspect: its next attempts run alone too.
            Outcome::Refused(error) if succeeded && self.alone() => Err(Failure::Retry(error.clone().into())),
            Outcome::Refused(error) | Outcome::Failed(error) => match self.verdict {
                // It failed by itself, so its work is undone either way.
                Some(Err(failure)) if self.culprit || !matches!(failure, Failure::Fenced) => Err(failure),
                // Its work, and the data that it read, are undone.
                _ => {
                    if succeeded && matches!(outcome, Outcome::Refused(_)) {
                        self.suspects.add(digest);
                    }
                    Err(Failure::Store(error.clone()))
                }
            },
        };
        let _ = self.reply.send(answer);
    }
}
