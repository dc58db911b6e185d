//! One transaction of an inbox: handlers one after another, then one statement that completes the successful messages.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use ackonce::protocol;
use ackonce::store::{DEFAULT_WINDOW, Repeat, Settle, Settled, Settlement};
use ackonce::{Answer, Context, Effect, Error, ErrorKind, Failure, Item};
use bytes::Bytes;
use deadpool_postgres::StatementCache;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::PostgresInbox;
use super::answer::classify_answer;
use super::outcome::{InboxOutcome, outcome};
use super::savepoint::{Savepoint, Set};
use super::statements::Statements;
use super::undone::{Undone, ended, swallowed};
use crate::connection::ConnectionGuard;
use crate::error::{is_refusal, statement, undone};

const BESIDE: &str = "postgres: the message before it in its transaction left that broken";

/// The messages of one transaction.
pub(super) struct Group<'i, M, F> {
    inbox: &'i PostgresInbox<F>,
    statements: Statements<'i>,
    contexts: Vec<Context>,
    messages: Vec<Option<M>>,
    answers: Vec<Option<Answer>>,
    /// The settlements of the successful messages, each with the message's index: its own, and one that it takes along.
    done: Vec<(usize, Vec<Settlement>)>,
}

impl<'i, M, F, T> Group<'i, M, F>
where
    M: Send,
    T: InboxOutcome,
    F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    pub(super) fn new(inbox: &'i PostgresInbox<F>, items: Vec<Item<M>>) -> Self {
        let answers = items.iter().map(|_| None).collect();
        let (contexts, messages) = items.into_iter().map(|item| (item.cx, Some(item.message))).unzip();
        let statements = Statements::new(&inbox.store.inner);
        Self { inbox, statements, contexts, messages, answers, done: Vec::new() }
    }

    /// One answer per message, in order.
    pub(super) async fn run(mut self, mut connection: ConnectionGuard) -> Vec<Answer> {
        let object = match connection.object() {
            Ok(object) => object,
            Err(error) => return self.finish(|_| Err(Failure::Store(error.clone()))),
        };
        let cache = Arc::clone(&object.statement_cache);
        let (ended, is_clean) = self.transact(object, &cache).await;
        if is_clean {
            connection.release();
        }
        match ended {
            Ok(()) => self.finish(|_| Effect::recorded(Settled::Yes).ok_or(Failure::Fenced)),
            Err(Undone::All(error)) => self.finish(|_| Err(Failure::Store(error.clone()))),
            Err(Undone::Each(failure, error)) => self.finish(|_| Err(failure(&error))),
        }
    }

    /// `rest` makes the answer of each message that has none.
    fn finish(self, rest: impl Fn(usize) -> Answer) -> Vec<Answer> {
        self.answers.into_iter().enumerate().map(|(n, answer)| answer.unwrap_or_else(|| rest(n))).collect()
    }

    /// The result, and `true` if the connection can be used again.
    async fn transact(&mut self, client: &mut Client, cache: &StatementCache) -> (Result<(), Undone>, bool) {
        let level = IsolationLevel::ReadCommitted;
        let tx = match client.build_transaction().isolation_level(level).start().await {
            Ok(tx) => tx,
            Err(e) => return (Err(undone("beginning an inbox transaction", e).into()), false),
        };
        match self.work(&tx, cache).await {
            Ok(()) if !self.done.is_empty() => self.commit(tx).await,
            ended => {
                let is_clean = tx.rollback().await.is_ok();
                (ended, is_clean)
            }
        }
    }

    async fn work(&mut self, tx: &Transaction<'_>, cache: &StatementCache) -> Result<(), Undone> {
        self.look(tx, cache).await?;
        let mut savepoint = Savepoint::new(&self.inbox.swallows);
        for n in 0..self.contexts.len() {
            if self.answers[n].is_none() {
                self.run_message(tx, n, &mut savepoint).await?;
            }
        }
        if !self.is_alone() {
            let released = savepoint.release(tx).await?;
            self.blame(tx, released).await?;
        }
        if self.done.is_empty() {
            return Ok(());
        }
        self.complete(tx, cache).await
    }

    /// A message alone needs no savepoint: the transaction serves as one.
    fn is_alone(&self) -> bool {
        self.contexts.len() == 1
    }

    async fn commit(&mut self, tx: Transaction<'_>) -> (Result<(), Undone>, bool) {
        match tx.commit().await {
            Ok(()) => {
                self.done.iter().for_each(|(n, _)| self.inbox.suspects.remove(self.contexts[*n].key()));
                (Ok(()), true)
            }
            Err(e) if is_refusal(&e) => (Err(self.refused(statement("committing", e))), true),
            Err(e) => (Err(statement("committing", e).into()), false),
        }
    }

    /// Answers the messages whose claims do not hold: a commit whose answer was lost may have completed one, and running it
    /// again would double the effect.
    async fn look(&mut self, tx: &Transaction<'_>, cache: &StatementCache) -> Result<(), Error> {
        let salt = &self.inbox.store.inner.salt;
        let keys: Vec<_> = self.contexts.iter().map(|cx| salt.id(cx.key())).collect();
        let mut found = self.statements.look(tx, cache, &self.inbox.settings, &keys).await?;
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
    async fn run_message(
        &mut self,
        tx: &Transaction<'_>,
        n: usize,
        savepoint: &mut Savepoint<'_>,
    ) -> Result<(), Undone> {
        let Some(message) = self.messages[n].take() else { return Ok(()) };
        if self.contexts[n].is_cancelled() {
            self.answers[n] = Some(Err(Failure::infrastructure("cancelled before its turn")));
            return Ok(());
        }
        let (inbox, cx, began) = (self.inbox, self.contexts[n].clone(), Instant::now());
        let handling = AssertUnwindSafe(async move { (inbox.handler)(tx, cx, message).await }).catch_unwind();
        let ran = match self.is_alone() {
            true => Some(handling.await),
            false => self.run_in_savepoint(tx, handling, savepoint).await?,
        };
        let Some(ran) = ran else {
            let error = Error::new(ErrorKind::Unavailable, BESIDE).with_repeat(Repeat::Safe);
            self.answers[n] = Some(Err(Failure::Store(error)));
            return Ok(());
        };
        match classify_answer(ran).and_then(outcome).map_err(|failure| self.overslept(began, failure)) {
            Ok(outcome) => {
                let along = self.contexts[n].take_along();
                self.done.push((n, [self.settlement(n, outcome)].into_iter().chain(along).collect()));
                savepoint.succeeded();
            }
            Err(failure) => {
                self.answers[n] = Some(Err(failure));
                if !self.is_alone() {
                    Savepoint::roll_back(tx).await?;
                }
            }
        }
        Ok(())
    }

    /// `None` if the savepoint was refused and the handler dropped.
    async fn run_in_savepoint<R>(
        &mut self,
        tx: &Transaction<'_>,
        handling: impl Future<Output = R>,
        savepoint: &mut Savepoint<'_>,
    ) -> Result<Option<R>, Undone> {
        if savepoint.waits() {
            let set = savepoint.set(tx).await?;
            self.blame(tx, set).await?;
            return Ok(Some(handling.await));
        }
        let (set, ran) = savepoint.set_along(tx, handling).await?;
        self.blame(tx, set).await?;
        Ok(ran)
    }

    /// Takes the success back from a handler that ignored the failure of a statement.
    async fn blame(&mut self, tx: &Transaction<'_>, set: Set) -> Result<(), Undone> {
        let Set::Swallowed(failure) = set else { return Ok(()) };
        let (n, _) = self.done.pop().ok_or_else(|| Undone::All(ended()))?;
        self.answers[n] = Some(Err(failure));
        Savepoint::roll_back(tx).await
    }

    /// Charges an attempt if the handler exceeded the idle timeout. The server then ends the transaction, and the driver
    /// reports a lost connection only; as the server's failure, such a message would run for ever.
    fn overslept(&self, began: Instant, failure: Failure) -> Failure {
        match (failure, self.inbox.settings.idle_timeout) {
            (Failure::Store(error), Some(most)) if began.elapsed() >= most => Failure::Retry(error.into()),
            (failure, _) => failure,
        }
    }

    async fn complete(&mut self, tx: &Transaction<'_>, cache: &StatementCache) -> Result<(), Undone> {
        let settlements =
            || self.done.iter().flat_map(|(n, all)| all.iter().map(move |settlement| (*n, settlement)));
        let (owners, settlements): (Vec<_>, Vec<_>) = settlements().unzip();
        let written = match self.statements.complete(tx, cache, &settlements).await {
            Ok(written) => written.ok_or_else(Undone::ended)??,
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

    /// The commit violated a deferred constraint.
    fn refused(&mut self, error: Error) -> Undone {
        if let [(only, _)] = self.done[..] {
            self.answers[only] = Some(Err(Failure::Retry(error.clone().into())));
        } else {
            self.inbox.suspects.add(self.done.iter().map(|(n, _)| self.contexts[*n].key()));
        }
        Undone::All(error.with_repeat(Repeat::Safe))
    }

    fn settlement(&self, n: usize, outcome: Option<Bytes>) -> Settlement {
        let window = self.inbox.settings.window.or(self.contexts[n].window()).unwrap_or(DEFAULT_WINDOW);
        Settlement::new(self.contexts[n].lease(), Settle::Complete { window, outcome })
    }
}
