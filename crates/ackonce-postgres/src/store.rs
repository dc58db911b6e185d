//! The store: each batch is one statement, sent from a thread of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement, Sweep};
use ackonce::{Deduplicator, Error, ErrorKind, Key, Result};
use async_trait::async_trait;

use crate::apart::{Held, Parts};
use crate::batch::{Batch, Reply};
use crate::client::{HELD, Locks, PoolClient};
use crate::connector::{Connector, place};
use crate::key::{Id, Salt};
use crate::request::{CLAIMS, ClaimParams, SETTLEMENTS, SettleParams, by_key, detail, settled};
use crate::rows::RowState;
use crate::sql::Texts;
use crate::sweep::Sweeper;
use crate::thread::{Thread, Waiting};
use crate::{PostgresConfig, SchemaName, Tables, schema};
use tokio_postgres::types::Type;

/// The records of some keys.
pub(crate) const LOOK: &str = include_str!("sql/look.sql");

/// The longest outcome or reason that is stored, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Records in PostgreSQL, shared by any number of processes. Clones share connections and thread.
///
/// Each batch is one statement in a transaction of its own. Two batches lock the records they share in the same
/// order, so they wait for each other and never deadlock. The store waits for a record that another transaction locks
/// for the lock timeout; then its claim is answered busy and its settlement with
/// [`Locked`](ErrorKind::Locked), and the others of the batch go on. The store's own thread drives the
/// connections, so a handler that blocks its runtime does not lose its lease.
///
/// # Crashes
/// - Of this process: a request without an answer may have been applied; the same request, with its token, is
///   answered as before. Claims are held until their lease ends.
/// - Of the server: every answered change is stored when it is back ([`describe`](Deduplicator::describe) lists the
///   weaknesses of that). Until then every answer is an error, and nothing is acknowledged.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: PostgresConfig,
    pub(crate) connector: Connector,
    pub(crate) salt: Salt,
    pub(crate) client: PoolClient,
    pub(crate) thread: Thread,
    claim: String,
    settle: String,
    look: String,
    held: Held,
    pub(crate) sweeper: Sweeper,
}

impl PostgresStore {
    /// Connects to the server at `url` with the defaults of [`PostgresConfig`].
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the URL cannot be parsed; the server refuses the login, is older than
    ///   version 14 or may lose confirmed records (see [`Unsafe`](crate::OnUnsafe)); or the tables are missing, and the
    ///   message says how to create them.
    /// - [`ReadOnly`](ErrorKind::ReadOnly): the server is a standby, or set to be read-only.
    /// - [`NewerSchema`](ErrorKind::NewerSchema): a newer version of this crate made the tables.
    /// - [`Unavailable`](ErrorKind::Unavailable): the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        PostgresConfig::new(url)?.connect().await
    }

    /// The SQL that creates schema and tables, for migrations by hand. It fails, and changes nothing, if
    /// they exist.
    #[must_use]
    pub fn schema_sql(schema: &SchemaName) -> String {
        schema::sql(schema)
    }

    /// Makes a pool of up to `connections` (at least 1) to the store's database, with the store's configuration, for
    /// the tables that an inbox's handler writes. The caller's runtime drives it.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the pool cannot be made. It opens connections on demand.
    pub fn pool(&self, connections: usize) -> Result<deadpool_postgres::Pool> {
        self.inner.connector.pool(connections.max(1))
    }

    pub(crate) async fn start(config: PostgresConfig, connector: Connector) -> Result<Self> {
        let client = PoolClient::new(connector.pool(config.connections)?, &config);
        let thread = Thread::start()?;
        let (for_salt, settings) = (client.clone(), config.clone());
        let salt =
            thread.call(|waiting| async move { waiting.answer(find(&for_salt, &settings).await) }).await?;
        let texts = Texts::new(&config.schema).with_clock(config.clock);
        let inner = Inner {
            claim: texts.claim(),
            settle: texts.settle("salt = $1"),
            look: texts.fill(LOOK),
            held: Held::default(),
            sweeper: Sweeper::new(&texts),
            config,
            connector,
            salt,
            client,
            thread,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Reads the schema's secret; creates the tables first if they are missing and the policy says so.
async fn find(client: &PoolClient, config: &PostgresConfig) -> Result<Salt> {
    client
        .with_connection(async |mut connection| {
            let Some(object) = connection.object() else { return Err(crate::client::broken()) };
            if config.tables == Tables::CreateMissing {
                schema::create(object, &config.schema).await?;
            }
            let client: &tokio_postgres::Client = object;
            let salt = schema::salt(client, &config.schema).await?;
            let salt = salt.ok_or_else(|| schema::missing(&config.schema))?;
            Ok((salt, connection))
        })
        .await
}

#[async_trait]
impl Deduplicator for PostgresStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let (inner, requests) = (Arc::clone(&self.inner), requests.to_vec());
        let job = |waiting: Waiting<_>| async move {
            // An abandoned claim would only delay the next one.
            if !waiting.has_gone() {
                waiting.answer(inner.claims(&requests).await);
                inner.sweep_along(requests.len()).await;
            }
        };
        self.inner.thread.call(job).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        let longest = settlements.iter().filter_map(detail).map(<[u8]>::len).max().unwrap_or(0);
        if longest > MAX_VALUE_LEN {
            return Err(too_long(longest));
        }
        let (inner, settlements) = (Arc::clone(&self.inner), settlements.to_vec());
        let job = |waiting: Waiting<_>| async move {
            // The settlement runs even if its caller is gone: the effect has happened.
            waiting.answer(inner.settlements(&settlements).await);
        };
        self.inner.thread.call(job).await
    }

    fn describe(&self) -> Description {
        let Inner { config, client, .. } = &*self.inner;
        Description {
            name: format!(
                "postgres {} schema {}",
                place(&config.server),
                config.schema.as_str().escape_debug()
            ),
            weaknesses: client.checks.weaknesses(),
        }
    }
}

impl Inner {
    async fn claims(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let mut batch = Batch::new(requests, &CLAIMS);
        while let Some(asked) = batch.next() {
            let mut parts = self.parts(asked.iter().map(|request| &request.key), Locks::Wait);
            while let Some(part) = parts.next() {
                let requests: Vec<_> = part.0.iter().map(|&n| asked[n]).collect();
                let answers = self.claim(&requests, part.1).await;
                parts.answered(part, answers)?;
            }
            // Another transaction holds the record, usually with an uncommitted claim.
            let busy = || Reply { answer: Claimed::Busy { free_in: self.config.lock_timeout }, left: None };
            batch.replied(
                parts.into_answers().into_iter().map(|reply| reply.unwrap_or_else(busy)).collect(),
            )?;
        }
        Ok(batch.answers())
    }

    async fn settlements(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
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
            // This request gets no answer: the call ends with an error.
            let none = || Reply { answer: Settled::Lost, left: None };
            batch.replied(replies.into_iter().map(|reply| reply.unwrap_or_else(none)).collect())?;
        }
        locked.map_or_else(|| Ok(batch.answers()), |key| Err(held(&key)))
    }

    fn parts<'k, A>(&self, keys: impl Iterator<Item = &'k Key>, sole: Locks) -> Parts<'_, Reply<A>> {
        Parts::new(keys.map(|key| self.salt.id(key)).collect(), &self.held, self.client.half_time(), sole)
    }

    async fn claim(&self, requests: &[&ClaimRequest], locks: Locks) -> Result<Vec<Reply<Claimed>>> {
        let params = ClaimParams::new(requests, &self.salt, self.config.names);
        let rows = self.client.query_by(locks, "claiming", &self.claim, &params.as_params()).await?;
        self.is_ours(rows.len())?;
        params.answers(requests, &rows)
    }

    async fn settle(&self, settlements: &[&Settlement], locks: Locks) -> Result<Vec<Reply<Settled>>> {
        let params = SettleParams::new(settlements, &self.salt, self.config.names);
        let rows = self.client.query_by(locks, "settling", &self.settle, &params.as_params()).await?;
        let now = self.is_ours(rows.len()).and_then(|()| crate::rows::now(&rows[0]))?;
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

    /// Sweeps some records after a batch was written; its caller has its answer already.
    async fn sweep_along(&self, written: usize) {
        if self.config.sweep == Sweep::Automatic {
            self.sweeper.along(&self.client, written).await;
        }
    }

    /// A statement returns no row if the schema is no longer the one that the store connected to.
    pub(crate) fn is_ours(&self, rows: usize) -> Result<()> {
        match rows {
            0 => Err(schema::changed(&self.config.schema)),
            _ => Ok(()),
        }
    }
}

fn held(key: &Key) -> Error {
    let message =
        format!("postgres: settling: {HELD}, that of {key:?}; the others of its batch were settled");
    Error::new(ErrorKind::Locked, message)
}

pub(crate) fn too_long(len: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("postgres: an outcome or reason of {len} bytes, at most {MAX_VALUE_LEN} are stored"),
    )
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
