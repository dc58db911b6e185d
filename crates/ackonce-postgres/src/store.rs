//! The store: each batch is one statement, sent from a thread of its own.

use std::fmt;
use std::sync::Arc;

use ackonce::{
    ClaimRequest, Claimed, Deduplicator, Description, Error, ErrorKind, Result, Settled, Settlement,
};
use async_trait::async_trait;

use crate::batch::Batch;
use crate::connector::{Connector, place};
use crate::key::Salt;
use crate::link::Link;
use crate::sql::{Locks, Texts};
use crate::sweep::Sweeper;
use crate::thread::{Thread, Waiting};
use crate::trip::{CLAIMS, ClaimParams, SETTLEMENTS, SettleParams, detail};
use crate::{PostgresConfig, SchemaName, Sweep, Tables, check, schema};

/// The longest outcome or reason that is stored, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Records in PostgreSQL: for any number of processes. Clones share connections and thread.
///
/// Each batch is one statement in a transaction of its own. Two batches lock the records they share in the same
/// order, so they wait for each other and never deadlock. The connections are driven by a thread of the store's
/// own, so a handler that blocks its runtime does not cost it its lease.
///
/// # What a crash does
/// - Of this process: what was asked and not answered may have been applied; the same request, with its token, is
///   answered as before. Claims are held until their lease ends.
/// - Of the server: what was answered is there when it is back ([`describe`](Deduplicator::describe) lists what
///   would weaken that). Until then every answer is an error, and nothing is acknowledged.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: PostgresConfig,
    pub(crate) connector: Connector,
    pub(crate) salt: Salt,
    pub(crate) link: Link,
    pub(crate) thread: Thread,
    claim: String,
    settle: String,
    pub(crate) sweeper: Sweeper,
    weaknesses: Vec<String>,
}

impl PostgresStore {
    /// Connects to the server at `url` with the defaults of [`PostgresConfig`].
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the URL cannot be read, the server does not let us in, is older than
    ///   version 14 or may lose what it confirms (see [`Unsafe`](crate::Unsafe)), or the tables are missing: the
    ///   message says how to create them.
    /// - [`ReadOnly`](ErrorKind::ReadOnly): it is a standby, or set to be read-only.
    /// - [`NewerSchema`](ErrorKind::NewerSchema): a newer version of this crate made the tables.
    /// - [`Unavailable`](ErrorKind::Unavailable): it cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        PostgresConfig::new(url)?.connect().await
    }

    /// The SQL that creates schema and tables, for those who migrate by hand. It fails, and changes nothing, if
    /// they are there.
    #[must_use]
    pub fn schema_sql(schema: &SchemaName) -> String {
        schema::sql(schema)
    }

    /// A new pool of up to `connections` (at least 1) to the store's own database, made as the store's own are: for
    /// the tables that an inbox's handler writes. It is driven by the caller's runtime.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): it cannot be made. It connects when a connection is asked for.
    pub fn pool(&self, connections: usize) -> Result<deadpool_postgres::Pool> {
        self.inner.connector.pool(connections.max(1))
    }

    pub(crate) async fn start(config: PostgresConfig, connector: Connector) -> Result<Self> {
        let link = Link::new(connector.pool(config.connections)?, &config);
        let thread = Thread::start()?;
        let (looking, settings) = (link.clone(), config.clone());
        let (salt, weaknesses) =
            thread.call(|waiting| async move { waiting.answer(look(&looking, &settings).await) }).await?;
        let texts = Texts::new(&config.schema).with_clock(config.clock);
        let locks = Locks::For(config.lock_timeout);
        let inner = Inner {
            claim: texts.claim(locks),
            settle: texts.settle(locks, "$1"),
            sweeper: Sweeper::new(&texts),
            config,
            connector,
            salt,
            link,
            thread,
            weaknesses,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// The first look: server, schema, secret, weaknesses.
async fn look(link: &Link, config: &PostgresConfig) -> Result<(Salt, Vec<String>)> {
    link.tend(async |mut leash| {
        let Some(object) = leash.object() else { return Err(crate::link::broken()) };
        let mut weaknesses = check::server(object, config.on_unsafe).await?;
        if config.tables == Tables::CreateMissing {
            schema::create(object, &config.schema).await?;
        }
        let client: &tokio_postgres::Client = object;
        let salt = schema::salt(client, &config.schema).await?;
        let salt = salt.ok_or_else(|| schema::missing(&config.schema))?;
        weaknesses.extend(check::tables(client, &config.schema, config.on_unsafe).await?);
        Ok(((salt, weaknesses), leash))
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
            // A claim that nobody waits for any more would only hold up the next one.
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
            // As true as before, whoever waits.
            waiting.answer(inner.settlements(&settlements).await);
        };
        self.inner.thread.call(job).await
    }

    fn describe(&self) -> Description {
        let Inner { config, weaknesses, .. } = &*self.inner;
        Description {
            name: format!(
                "postgres {} schema {}",
                place(&config.server),
                config.schema.as_str().escape_debug()
            ),
            weaknesses: weaknesses.clone(),
        }
    }
}

impl Inner {
    async fn claims(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let mut batch = Batch::new(requests, &CLAIMS);
        while let Some(asked) = batch.next() {
            let params = ClaimParams::new(&asked, &self.salt, self.config.names);
            let rows = self.link.query("claiming", &self.claim, &params.as_params()).await?;
            self.is_ours(rows.len())?;
            batch.told(params.answers(&asked, &rows)?)?;
        }
        Ok(batch.answers())
    }

    async fn settlements(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut batch = Batch::new(settlements, &SETTLEMENTS);
        while let Some(asked) = batch.next() {
            let params = SettleParams::new(&asked, &self.salt, self.config.names);
            let rows = self.link.query("settling", &self.settle, &params.as_params()).await?;
            self.is_ours(rows.len())?;
            batch.told(params.answers(&asked, &rows)?)?;
        }
        Ok(batch.answers())
    }

    /// Looks at some records after a batch was written; its caller has its answer already.
    async fn sweep_along(&self, written: usize) {
        if self.config.sweep == Sweep::Automatic {
            self.sweeper.along(&self.link, written).await;
        }
    }

    /// The statements answer nothing at all where the schema is not the one that was connected to.
    pub(crate) fn is_ours(&self, rows: usize) -> Result<()> {
        match rows {
            0 => Err(schema::changed(&self.config.schema)),
            _ => Ok(()),
        }
    }
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
