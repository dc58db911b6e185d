//! Claims and settlements as statements: a batch of one each, less where a key comes twice or a record is held.

mod batch;
mod params;
mod parts;

use std::collections::HashMap;
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Names, Settled, Settlement};
use ackonce::{Error, ErrorKind, Key, Result};
use tokio_postgres::types::Type;

use crate::connection::{HELD, Locks, PoolClient};
use crate::records::{Id, LOOK, RowState, Salt, Texts, now};
use crate::schema;
use crate::{PostgresConfig, SchemaName};
use batch::{Batch, Reply};
use params::{CLAIMS, SETTLEMENTS, settled};
use parts::{Held, Parts};

pub(crate) use params::{ClaimParams, SettleParams, becomes, by_key, detail, granted, micros, times};

/// The claims and settlements of one store.
#[derive(Debug)]
pub(crate) struct Requests {
    client: PoolClient,
    salt: Salt,
    schema: SchemaName,
    names: Names,
    lock_timeout: Duration,
    claim: String,
    settle: String,
    look: String,
    held: Held,
}

impl Requests {
    pub(crate) fn new(client: PoolClient, salt: Salt, config: &PostgresConfig, texts: &Texts<'_>) -> Self {
        Self {
            client,
            salt,
            schema: config.schema.clone(),
            names: config.names,
            lock_timeout: config.lock_timeout,
            claim: texts.claim(),
            settle: texts.settle("salt = $1"),
            look: texts.fill(LOOK),
            held: Held::default(),
        }
    }

    /// One answer per claim, in order.
    pub(crate) async fn claims(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let mut batch = Batch::new(requests, &CLAIMS);
        while let Some(asked) = batch.next() {
            let mut parts = self.parts(asked.iter().map(|request| &request.key), Locks::Wait);
            while let Some(part) = parts.next() {
                let requests: Vec<_> = part.0.iter().map(|&n| asked[n]).collect();
                let answers = self.claim(&requests, part.1).await;
                parts.answered(part, answers)?;
            }
            // Another transaction holds the record, usually with an uncommitted claim.
            batch.replied(parts.into_answers(), || Claimed::Busy { free_in: self.lock_timeout })?;
        }
        Ok(batch.answers())
    }

    /// One answer per settlement, in order.
    ///
    /// # Errors
    /// Also [`Locked`](ErrorKind::Locked), if another transaction holds a record; the other records were settled.
    pub(crate) async fn settlements(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut batch = Batch::new(settlements, &SETTLEMENTS);
        let mut locked = None;
        while let Some(asked) = batch.next() {
            let mut parts = self.parts(asked.iter().map(|settlement| &settlement.key), Locks::Alone);
            while let Some(part) = parts.next() {
                let settlements: Vec<_> = part.0.iter().map(|&n| asked[n]).collect();
                let answers = self.settle(&settlements, part.1).await;
                parts.answered(part, answers)?;
            }
            let replies = parts.into_answers();
            let without = asked.iter().zip(&replies).find(|(_, reply)| reply.is_none());
            locked = locked.or(without.map(|(settlement, _)| settlement.key.clone()));
            // These requests get no answer: the call ends with an error.
            batch.replied(replies, || Settled::Lost)?;
        }
        locked.map_or_else(|| Ok(batch.answers()), |key| Err(held(&key)))
    }

    fn parts<'k, A>(&self, keys: impl Iterator<Item = &'k Key>, sole: Locks) -> Parts<'_, Reply<A>> {
        Parts::new(keys.map(|key| self.salt.id(key)).collect(), &self.held, self.client.half_time(), sole)
    }

    async fn claim(&self, requests: &[&ClaimRequest], locks: Locks) -> Result<Vec<Reply<Claimed>>> {
        let params = ClaimParams::new(requests, &self.salt, self.names);
        let rows = self.client.query_by(locks, "claiming", &self.claim, &params.as_params()).await?;
        self.is_ours(rows.len())?;
        params.answers(requests, &rows)
    }

    async fn settle(&self, settlements: &[&Settlement], locks: Locks) -> Result<Vec<Reply<Settled>>> {
        let params = SettleParams::new(settlements, &self.salt, self.names);
        let rows = self.client.query_by(locks, "settling", &self.settle, &params.as_params()).await?;
        let now = self.is_ours(rows.len()).and_then(|()| now(&rows[0]))?;
        let states = self.with_the_others(params.keys(), by_key(&rows)?).await?;
        settled(settlements, params.keys(), states, now)
    }

    /// Adds the records that a settlement has not changed: those of repeats and of lost leases.
    async fn with_the_others(
        &self,
        keys: &[Id],
        mut found: HashMap<Id, RowState>,
    ) -> Result<HashMap<Id, RowState>> {
        let others: Vec<_> = keys.iter().filter(|key| !found.contains_key(key)).collect();
        if !others.is_empty() {
            let rows = self.client.query("settling", &self.look, &[(&others, Type::UUID_ARRAY)]).await?;
            found.extend(by_key(&rows)?);
        }
        Ok(found)
    }

    /// A statement returns no row if the schema is no longer the one that the store connected to.
    fn is_ours(&self, rows: usize) -> Result<()> {
        match rows {
            0 => Err(schema::changed(&self.schema)),
            _ => Ok(()),
        }
    }
}

fn held(key: &Key) -> Error {
    let message =
        format!("postgres: settling: {HELD}, that of {key:?}; the others of its batch were settled");
    Error::new(ErrorKind::Locked, message)
}
