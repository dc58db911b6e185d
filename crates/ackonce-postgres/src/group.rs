//! One transaction of an inbox: handlers one after another, then one statement that completes the successful messages.

use std::sync::Arc;

use ackonce::protocol;
use ackonce::store::{DEFAULT_WINDOW, Repeat, Settle, Settled, Settlement, Token};
use ackonce::{Answer, Context, Effect, Error, ErrorKind, Failure, Item};
use bytes::Bytes;
use deadpool_postgres::StatementCache;
use futures_util::future::{BoxFuture, try_join3};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::check::KEEPS;
use crate::client::{Param, broken, prepared, send, send_prepared};
use crate::connection_guard::ConnectionGuard;
use crate::error::{is_refusal, statement, undone};
use crate::inbox::{InboxOutcome, PostgresInbox};
use crate::key::Id;
use crate::request::{SettleParams, by_key};
use crate::savepoint::{Savepoint, swallowed};
use crate::store::LOOK;

/// The settings of the transaction. While it reads its claims the planner may use indexes only.
const SET_UP: &str = "SELECT {keeps}, {durable}, set_config('ackonce.run', $1, true){settings}, \
                      set_config('ackonce.seqscan', current_setting('enable_seqscan'), true) AS seqscan, \
                      set_config('enable_seqscan', 'off', true)";
/// Restores the planner's setting for the handler's statements.
const PLAN_FREELY: &str = "SELECT set_config('enable_seqscan', current_setting('ackonce.seqscan'), true)";
const ENDED: &str = "the handler ended the transaction by a statement of its own";

/// The reason for which a whole transaction was rolled back.
pub(crate) enum Undone {
    /// None of its messages caused it.
    All(Error),
    /// The answer for each message, made from the error.
    Each(fn(&Error) -> Failure, Error),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::All(error)
    }
}

/// The messages of one transaction.
pub(crate) struct Group<'i, M, F> {
    pub(crate) inbox: &'i PostgresInbox<F>,
    pub(crate) contexts: Vec<Context>,
    pub(crate) messages: Vec<Option<M>>,
    pub(crate) answers: Vec<Option<Answer>>,
    /// The settlements of the successful messages, each with the message's index.
    pub(crate) done: Vec<(usize, Settlement)>,
    /// The transaction's name, set in it as a setting: a statement that does not find it runs in another transaction.
    run: String,
}

impl<'i, M, F, T> Group<'i, M, F>
where
    M: Send,
    T: InboxOutcome,
    F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    pub(crate) fn new(inbox: &'i PostgresInbox<F>, items: Vec<Item<M>>) -> Self {
        let answers = items.iter().map(|_| None).collect();
        let (contexts, messages) = items.into_iter().map(|item| (item.cx, Some(item.message))).unzip();
        let run = format!("{:032x}", u128::from_be_bytes(Token::random().0));
        Self { inbox, contexts, messages, answers, done: Vec::new(), run }
    }

    /// One answer per message, in order.
    pub(crate) async fn run(mut self, mut connection: ConnectionGuard) -> Vec<Answer> {
        let Some(object) = connection.object() else { return self.finish(|_| Err(Failure::Store(broken()))) };
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
        let mut savepoint = Savepoint::default();
        for n in 0..self.contexts.len() {
            if self.answers[n].is_none() {
                self.run_message(tx, n, &mut savepoint).await?;
            }
        }
        self.last(tx, &mut savepoint).await?;
        if self.done.is_empty() {
            return Ok(());
        }
        self.complete(tx, cache).await
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

    /// Sets the transaction up and reads its claims: a commit whose answer was lost may have completed
    /// one, and running it again would double the effect. Nothing is locked before the end: heartbeats renew
    /// these very records while the handlers run.
    async fn look(&mut self, tx: &Transaction<'_>, cache: &StatementCache) -> Result<(), Error> {
        let inner = &self.inbox.store.inner;
        let (texts, prepare) = (inner.texts(), inner.config.prepare);
        let set_up = SET_UP.replace("{keeps}", KEEPS).replace("{settings}", &self.inbox.settings.columns());
        let (set_up, look) = (texts.fill(&set_up), texts.fill(LOOK));
        let keys: Vec<_> = self.contexts.iter().map(|cx| inner.salt.id(cx.key())).collect();
        let run: [Param<'_>; 1] = [(&self.run, Type::TEXT)];
        let asked: [Param<'_>; 1] = [(&keys, Type::UUID_ARRAY)];
        let looked = async {
            let client = tx.client();
            let first = prepared(client, cache, prepare, &set_up, &run).await?;
            let second = prepared(client, cache, prepare, &look, &asked).await?;
            // One round trip: they are polled, and so sent, in this order.
            let (settings, rows, ()) = try_join3(
                send_prepared(client, first.as_ref(), &set_up, &run),
                send_prepared(client, second.as_ref(), &look, &asked),
                client.batch_execute(PLAN_FREELY),
            )
            .await?;
            let keeps = settings.first().is_some_and(|row| row.try_get("keeps").unwrap_or(false));
            Ok((keeps, rows))
        };
        let (keeps, rows) = looked.await.map_err(|e| undone("reading the claims", e))?;
        if !keeps {
            inner.client.checks.run(tx.client()).await?;
        }
        let mut found = by_key(&rows)?;
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

    /// Completes the messages. As the last statement it fails in an aborted transaction, finds nothing in another one, and
    /// changes only records that are still claimed under these tokens and fences.
    async fn complete(&mut self, tx: &Transaction<'_>, cache: &StatementCache) -> Result<(), Undone> {
        let inner = &self.inbox.store.inner;
        let settlements: Vec<_> = self.done.iter().map(|(_, settlement)| settlement).collect();
        let params = SettleParams::new(&settlements, &inner.salt, inner.config.names);
        let mut values = params.as_params().to_vec();
        values.push((&self.run, Type::TEXT));
        let text = inner.texts().settle("salt = $1 AND current_setting('ackonce.run', true) = $11");
        let rows = match send(tx.client(), cache, inner.config.prepare, &text, &values).await {
            Ok(rows) => rows,
            Err(e) => {
                // In a group a failed statement shows earlier, at the release of the savepoint, so this message is alone.
                let failure = swallowed(e)?;
                self.answers[self.done[0].0] = Some(Err(failure));
                return Err(Undone::All(ended()));
            }
        };
        if rows.is_empty() {
            return Err(Undone::Each(|error| Failure::unknown(error.clone()), ended()));
        }
        let completed = by_key(&rows)?;
        let is_lost = |key: &Id| !completed.contains_key(key);
        let lost: Vec<_> = self.done.iter().zip(params.keys()).filter(|(_, key)| is_lost(key)).collect();
        if lost.is_empty() {
            return Ok(());
        }
        for ((n, _), _) in lost {
            self.answers[*n] = Some(Err(Failure::Fenced));
        }
        let message = "postgres: rolled back together with a message whose claim was taken over";
        Err(Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe).into())
    }

    /// The commit violated a deferred constraint.
    fn refused(&mut self, error: Error) -> Undone {
        if let [(only, _)] = self.done[..] {
            self.answers[only] = Some(Err(Failure::Retry(error.clone().into())));
        } else {
            self.inbox.suspects.add(self.done.iter().map(|(_, settlement)| &settlement.key));
        }
        Undone::All(error.with_repeat(Repeat::Safe))
    }

    pub(crate) fn settlement(&self, n: usize, outcome: Option<Bytes>) -> Settlement {
        let window = self.inbox.settings.window.or(self.contexts[n].window()).unwrap_or(DEFAULT_WINDOW);
        Settlement::new(self.contexts[n].lease(), Settle::Complete { window, outcome })
    }
}

pub(crate) fn ended() -> Error {
    Error::new(ErrorKind::Protocol, format!("postgres: {ENDED}"))
}
