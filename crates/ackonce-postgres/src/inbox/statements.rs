//! The statements of an inbox around its handlers: the set-up, the look at the claims, the completion.

use std::collections::HashMap;

use ackonce::Error;
use ackonce::store::{Settlement, Token};
use deadpool_postgres::StatementCache;
use futures_util::future::try_join3;
use tokio_postgres::types::Type;
use tokio_postgres::{Error as PgError, Transaction};

use super::settings::InboxSettings;
use crate::check::KEEPS;
use crate::connection::{Param, prepared, send, send_prepared};
use crate::error::undone;
use crate::records::{Id, LOOK, RowState};
use crate::request::{SettleParams, by_key};
use crate::store::Inner;

/// The settings of the transaction. While it reads its claims the planner may use indexes only.
const SET_UP: &str = "SELECT {keeps}, {durable}, set_config('ackonce.run', $1, true){settings}, \
                      set_config('ackonce.seqscan', current_setting('enable_seqscan'), true) AS seqscan, \
                      set_config('enable_seqscan', 'off', true)";
/// Restores the planner's setting for the handler's statements.
const PLAN_FREELY: &str = "SELECT set_config('enable_seqscan', current_setting('ackonce.seqscan'), true)";

/// The statements of one transaction.
pub(super) struct Statements<'i> {
    inner: &'i Inner,
    /// The transaction's name, set in it as a setting: a statement that does not find it runs in another transaction.
    run: String,
}

impl<'i> Statements<'i> {
    pub(super) fn new(inner: &'i Inner) -> Self {
        Self { inner, run: format!("{:032x}", u128::from_be_bytes(Token::random().0)) }
    }

    /// Sets the transaction up and reads the records of its claims. Nothing is locked before the end: heartbeats renew
    /// these very records while the handlers run.
    pub(super) async fn look(
        &self,
        tx: &Transaction<'_>,
        cache: &StatementCache,
        settings: &InboxSettings,
        keys: &[Id],
    ) -> Result<HashMap<Id, RowState>, Error> {
        let (texts, prepare) = (self.inner.texts(), self.inner.config.prepare);
        let set_up = SET_UP.replace("{keeps}", KEEPS).replace("{settings}", &settings.columns());
        let (set_up, look) = (texts.fill(&set_up), texts.fill(LOOK));
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
            self.inner.client.checks.run(tx.client()).await?;
        }
        by_key(&rows)
    }

    /// Completes the messages and returns whether each settlement was written. As the last statement it fails in an aborted
    /// transaction, finds nothing in another one (`None`), and changes only records that are still claimed under these tokens
    /// and fences.
    pub(super) async fn complete(
        &self,
        tx: &Transaction<'_>,
        cache: &StatementCache,
        settlements: &[&Settlement],
    ) -> Result<Option<Result<Vec<bool>, Error>>, PgError> {
        let inner = self.inner;
        let params = SettleParams::new(settlements, &inner.salt, inner.config.names);
        let mut values = params.as_params().to_vec();
        values.push((&self.run, Type::TEXT));
        let text = inner.texts().settle("salt = $1 AND current_setting('ackonce.run', true) = $11");
        let rows = send(tx.client(), cache, inner.config.prepare, &text, &values).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let written = by_key(&rows)
            .map(|completed| params.keys().iter().map(|key| completed.contains_key(key)).collect());
        Ok(Some(written))
    }
}
