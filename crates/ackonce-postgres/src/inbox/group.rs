//! One transaction of an inbox: handlers one after another, then one statement that completes the successful messages.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use ackonce::protocol;
use ackonce::store::{DEFAULT_WINDOW, Repeat, Settle, Settled, Settlement};
use ackonce::{Answer, Context, Effect, Error, ErrorKind, Failure, Item};
use bytes::Bytes;
use futures_util::FutureExt;

use super::answer::classify_answer;
use super::core::InboxCore;
use super::outcome::outcome;
use super::savepoint::{Savepoint, Set};
use super::session::{HandlerRun, InboxSession};
use super::statements::Statements;
use super::undone::{Undone, ended, swallowed};
use crate::error::{no_connection, statement, undone};
use crate::sql_error::SqlError;

const BESIDE: &str = "postgres: the message before it in its transaction left that broken";

/// The messages of one transaction. The driver's inbox begins the transaction, calls [`run`](Self::run), commits or rolls back
/// as that says, and takes the answers with [`finish`](Self::finish).
#[must_use = "each message needs its answer"]
pub struct InboxGroup<'i, M> {
    core: &'i InboxCore,
    statements: Statements<'i>,
    contexts: Vec<Context>,
    messages: Vec<Option<M>>,
    answers: Vec<Option<Answer>>,
    /// The settlements of the successful messages, each with the message's index: its own, and one that it takes along.
    done: Vec<(usize, Vec<Settlement>)>,
    undone: Option<Undone>,
}

/// The end that a group's transaction must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the transaction is still open"]
pub enum GroupEnd {
    /// Some messages succeeded, and their records are written.
    Commit,
    /// No message succeeded.
    RollBack,
}

impl<'i, M: Send + 'static> InboxGroup<'i, M> {
    pub(super) fn new(core: &'i InboxCore, items: Vec<Item<M>>) -> Self {
        let answers = items.iter().map(|_| None).collect();
        let (contexts, messages) = items.into_iter().map(|item| (item.cx, Some(item.message))).unzip();
        let statements = Statements::new(&core.store.inner, core.texts);
        Self { core, statements, contexts, messages, answers, done: Vec::new(), undone: None }
    }

    /// Runs the handlers and completes the successful messages, all but the COMMIT.
    pub async fn run<S: InboxSession<M>>(&mut self, session: &mut S) -> GroupEnd {
        match self.work(session).await {
            Ok(()) if !self.done.is_empty() => GroupEnd::Commit,
            Ok(()) => GroupEnd::RollBack,
            Err(undone) => {
                self.undone = Some(undone);
                GroupEnd::RollBack
            }
        }
    }

    /// The answers, in order, after the COMMIT gave this result; `Ok` also after a rollback, however that went.
    #[must_use]
    pub fn finish(mut self, committed: Result<(), SqlError>) -> Vec<Answer> {
        match committed {
            Ok(()) if self.undone.is_none() => {
                self.done.iter().for_each(|(n, _)| self.core.suspects.remove(self.contexts[*n].key()));
            }
            Ok(()) => {}
            Err(error) if error.is_refusal() => {
                let undone = self.refused(statement("committing", error));
                self.undone = Some(undone);
            }
            Err(error) => self.undone = Some(statement("committing", error).into()),
        }
        match self.undone.take() {
            None => self.answers(|| Effect::recorded(Settled::Yes).ok_or(Failure::Fenced)),
            Some(Undone::All(error)) => self.answers(|| Err(Failure::Store(error.clone()))),
            Some(Undone::Each(failure, error)) => self.answers(|| Err(failure(&error))),
        }
    }

    /// The answers if the pool gave no connection.
    #[must_use]
    pub fn without_connection(self, error: SqlError) -> Vec<Answer> {
        let error = no_connection(error.into_source());
        self.failed(&error)
    }

    /// The answers if the transaction could not be begun.
    #[must_use]
    pub fn not_begun(self, error: SqlError) -> Vec<Answer> {
        let error = undone("beginning an inbox transaction", error);
        self.failed(&error)
    }

    pub(super) fn failed(self, error: &Error) -> Vec<Answer> {
        self.answers(|| Err(Failure::Store(error.clone())))
    }

    /// `rest` makes the answer of each message that has none.
    fn answers(self, rest: impl Fn() -> Answer) -> Vec<Answer> {
        self.answers.into_iter().map(|answer| answer.unwrap_or_else(&rest)).collect()
    }

    async fn work<S: InboxSession<M>>(&mut self, session: &mut S) -> Result<(), Undone> {
        self.look(session).await?;
        let mut savepoint = Savepoint::new(&self.core.swallows);
        for n in 0..self.contexts.len() {
            if self.answers[n].is_none() {
                self.run_message(session, n, &mut savepoint).await?;
            }
        }
        if self.has_savepoint::<S>() {
            let released = savepoint.release(session).await?;
            self.blame(session, released).await?;
        }
        if self.done.is_empty() {
            return Ok(());
        }
        self.complete(session).await
    }

    /// A message alone needs no savepoint in most drivers: the transaction serves as one.
    fn has_savepoint<S: InboxSession<M>>(&self) -> bool {
        S::NEEDS_SAVEPOINT || self.contexts.len() > 1
    }

    /// Answers the messages whose claims do not hold: a commit whose answer was lost may have completed one, and running it
    /// again would double the effect.
    async fn look<S: InboxSession<M>>(&mut self, session: &mut S) -> Result<(), Error> {
        let salt = &self.core.store.inner.salt;
        let keys: Vec<_> = self.contexts.iter().map(|cx| salt.id(cx.key())).collect();
        let mut found = self.statements.look(session, &keys).await?;
        for (n, key) in keys.iter().enumerate() {
            let settlement = self.settlement(n, None);
            let current = found.remove(key);
            let now = current.as_ref().map_or(0, |current| current.now);
            let row = current.and_then(|current| current.row).map(|row| row.under(settlement.token));
            self.answers[n] = match protocol::settle(row.as_ref(), &settlement, now) {
                (Settled::Yes, Some(_)) => None,
                (settled, _) => Some(Effect::recorded(settled).ok_or(Failure::Fenced)),
            };
        }
        Ok(())
    }

    /// Runs one handler, and rolls it back alone if it fails.
    async fn run_message<S: InboxSession<M>>(
        &mut self,
        session: &mut S,
        n: usize,
        savepoint: &mut Savepoint<'_>,
    ) -> Result<(), Undone> {
        let Some(message) = self.messages[n].take() else { return Ok(()) };
        if self.contexts[n].is_cancelled() {
            self.answers[n] = Some(Err(Failure::infrastructure("cancelled before its turn")));
            return Ok(());
        }
        let (cx, began) = (self.contexts[n].clone(), Instant::now());
        let ran = match self.has_savepoint::<S>() {
            false => Some(run_handler(session, cx, message).await),
            true => self.run_in_savepoint(session, cx, message, savepoint).await?,
        };
        let Some(ran) = ran else {
            let error = Error::new(ErrorKind::Unavailable, BESIDE).with_repeat(Repeat::Safe);
            self.answers[n] = Some(Err(Failure::Store(error)));
            return Ok(());
        };
        let answer = classify_answer::<S, _>(ran).and_then(outcome);
        match answer.map_err(|failure| self.overslept(began, failure)) {
            Ok(outcome) => {
                let along = self.contexts[n].take_along();
                self.done.push((n, [self.settlement(n, outcome)].into_iter().chain(along).collect()));
                savepoint.succeeded();
            }
            Err(failure) => {
                self.answers[n] = Some(Err(failure));
                if self.has_savepoint::<S>() {
                    Savepoint::roll_back(session).await?;
                }
            }
        }
        Ok(())
    }

    /// `None` if the savepoint was refused and the handler dropped.
    async fn run_in_savepoint<S: InboxSession<M>>(
        &mut self,
        session: &mut S,
        cx: Context,
        message: M,
        savepoint: &mut Savepoint<'_>,
    ) -> Result<Option<HandlerRun<S::Outcome>>, Undone> {
        if !S::SENDS_AHEAD || savepoint.waits() {
            let set = savepoint.set(session).await?;
            self.blame(session, set).await?;
            return Ok(Some(run_handler(session, cx, message).await));
        }
        let (set, ran) = session.handle_along(savepoint.text(), cx, message).await;
        let set = savepoint.answered(session, set).await?;
        self.blame(session, set).await?;
        Ok(ran)
    }

    /// Takes the success back from a handler that ignored the failure of a statement.
    async fn blame<S: InboxSession<M>>(&mut self, session: &mut S, set: Set) -> Result<(), Undone> {
        let Set::Swallowed(failure) = set else { return Ok(()) };
        let (n, _) = self.done.pop().ok_or_else(|| Undone::All(ended()))?;
        self.answers[n] = Some(Err(failure));
        Savepoint::roll_back(session).await
    }

    /// Charges an attempt if the handler exceeded the idle timeout. The server then ends the transaction, and the driver
    /// reports a lost connection only; as the server's failure, such a message would run for ever.
    fn overslept(&self, began: Instant, failure: Failure) -> Failure {
        match (failure, self.core.settings.idle_timeout) {
            (Failure::Store(error), Some(most)) if began.elapsed() >= most => Failure::Retry(error.into()),
            (failure, _) => failure,
        }
    }

    async fn complete<S: InboxSession<M>>(&mut self, session: &mut S) -> Result<(), Undone> {
        let settlements =
            || self.done.iter().flat_map(|(n, all)| all.iter().map(move |settlement| (*n, settlement)));
        let (owners, settlements): (Vec<_>, Vec<_>) = settlements().unzip();
        let written = match self.statements.complete(session, &settlements).await {
            Ok(written) => written.ok_or_else(Undone::ended)?,
            Err(e) if e.is_code_hidden() => return Err(undone("completing", e).into()),
            Err(e) => {
                // In a group a failed statement shows earlier, at the release of the savepoint, so this message is alone.
                let failure = swallowed(e)?;
                self.answers[self.done[0].0] = Some(Err(failure));
                return Err(Undone::All(ended()));
            }
        };
        if written.iter().all(|written| *written) {
            return Ok(());
        }
        for (n, _) in owners.into_iter().zip(written).filter(|(_, written)| !written) {
            self.answers[n] = Some(Err(Failure::Fenced));
        }
        Err(Undone::taken_over())
    }

    /// The COMMIT was refused because of one of its messages.
    fn refused(&mut self, error: Error) -> Undone {
        if let [(only, _)] = self.done[..] {
            self.answers[only] = Some(Err(Failure::Retry(error.clone().into())));
        } else {
            self.core.suspects.add(self.done.iter().map(|(n, _)| self.contexts[*n].key()));
        }
        Undone::All(error.with_repeat(Repeat::Safe))
    }

    fn settlement(&self, n: usize, outcome: Option<Bytes>) -> Settlement {
        let window = self.core.settings.window.or(self.contexts[n].window()).unwrap_or(DEFAULT_WINDOW);
        Settlement::new(self.contexts[n].lease(), Settle::Complete { window, outcome })
    }
}

async fn run_handler<M: Send + 'static, S: InboxSession<M>>(
    session: &mut S,
    cx: Context,
    message: M,
) -> HandlerRun<S::Outcome> {
    AssertUnwindSafe(session.handle(cx, message)).catch_unwind().await
}

impl<M> fmt::Debug for InboxGroup<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxGroup").field("messages", &self.contexts.len()).finish_non_exhaustive()
    }
}
