//! The store: each batch is one statement, sent from a thread of its own.

use std::fmt;
use std::sync::Arc;

use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement, Sweep, check_value_len};
use ackonce::{Deduplicator, Result};
use async_trait::async_trait;
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::config::place;
use crate::connection::{Connector, PoolClient, Thread, Waiting, connector};
use crate::error::unsent;
use crate::inspect::sweep::Sweeper;
use crate::records::{Salt, Texts};
use crate::request::Requests;
use crate::{PostgresConfig, SchemaName, Tables, schema};

/// Records in PostgreSQL, shared by any number of processes. Clones share connections and thread.
///
/// Each batch is one statement in a transaction of its own. Two batches lock the records they share in the same
/// order, so they wait for each other and never deadlock. The store waits for a record that another transaction locks
/// for the lock timeout; then its claim is answered busy and its settlement with
/// [`Locked`](ackonce::ErrorKind::Locked), and the others of the batch go on. The store's own thread drives the
/// connections, so a handler that blocks its runtime does not lose its lease.
///
/// ```no_run
/// use ackonce::Deduplicator;
/// use ackonce_postgres::PostgresStore;
///
/// # async fn open() -> Result<(), ackonce::Error> {
/// let store = PostgresStore::connect("postgres://app@db.internal/app?target_session_attrs=read-write").await?;
/// for weakness in store.describe().weaknesses {
///     eprintln!("the store is weaker than promised: {weakness}");
/// }
/// # Ok(()) }
/// ```
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
    requests: Requests,
    pub(crate) sweeper: Sweeper,
}

impl PostgresStore {
    /// Connects to the server at `url` with the defaults of [`PostgresConfig`].
    ///
    /// # Errors
    /// - [`Config`](ackonce::ErrorKind::Config): the URL cannot be parsed; the server refuses the login, is older than
    ///   version 14 or may lose confirmed records (see [`OnUnsafe`](crate::OnUnsafe)); or the tables are missing, and the
    ///   message says how to create them.
    /// - [`ReadOnly`](ackonce::ErrorKind::ReadOnly): the server is a standby, or set to be read-only.
    /// - [`NewerSchema`](ackonce::ErrorKind::NewerSchema): a newer version of this crate made the tables.
    /// - [`Unavailable`](ackonce::ErrorKind::Unavailable): the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        PostgresConfig::new(url)?.connect().await
    }

    /// The SQL that creates schema and tables, for migrations by hand. It fails, and changes nothing, if
    /// they exist.
    ///
    /// Take it where the role of the consumers may not create tables; [`PostgresConfig::create_schema`] does the same from a
    /// program and may run again.
    ///
    /// ```
    /// use ackonce_postgres::{PostgresStore, SchemaName};
    ///
    /// let sql = PostgresStore::schema_sql(&SchemaName::new("dedup")?);
    /// assert!(sql.contains(r#"CREATE SCHEMA "dedup";"#));
    /// # Ok::<(), ackonce::Error>(())
    /// ```
    #[must_use]
    pub fn schema_sql(schema: &SchemaName) -> String {
        schema::sql(schema)
    }

    /// Makes a pool of up to `connections` (at least 1) to the store's database, with the store's configuration, for
    /// the tables that an inbox's handler writes. The caller's runtime drives it.
    ///
    /// The store's own connections are not shared: a query of yours that waits for a row would delay heartbeats.
    ///
    /// # Errors
    /// [`Config`](ackonce::ErrorKind::Config) if the pool cannot be made. It opens connections on demand.
    pub fn pool(&self, connections: usize) -> Result<deadpool_postgres::Pool> {
        self.inner.connector.pool(connections.max(1))
    }

    /// The schema of the store's tables.
    #[must_use]
    pub fn schema(&self) -> &SchemaName {
        &self.inner.config.schema
    }

    /// Listens to a channel on a connection of its own, and calls `notified` with the payload of each notification, until
    /// the connection ends. `started` is called once the server listens. Dropping the future closes the connection.
    ///
    /// # Errors
    /// The server cannot be reached, or the connection was lost: call it again.
    pub async fn listen(
        &self,
        channel: &str,
        started: impl FnOnce() + Send,
        notified: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<()> {
        let (_client, driving) = self.inner.connector.listen(channel, Arc::new(notified)).await?;
        started();
        driving.await.map_err(unsent)
    }

    pub(crate) async fn start(config: PostgresConfig, connector: Connector) -> Result<Self> {
        let client = PoolClient::new(connector.pool(config.connections)?, &config);
        let thread = Thread::start()?;
        let (for_salt, settings) = (client.clone(), config.clone());
        let salt =
            thread.call(|waiting| async move { waiting.answer(find(&for_salt, &settings).await) }).await?;
        client.has_started();
        let texts = Texts::new(&config.schema).with_clock(config.clock);
        let inner = Inner {
            requests: Requests::new(client.clone(), salt.clone(), &config, &texts),
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
            let object = connection.object()?;
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

impl PostgresConfig {
    /// Connects and checks the server. With `sslmode=require` in the URL and the crate's feature `tls` the
    /// connection is TLS, its certificate verified; without `sslmode` it is not.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect(self) -> Result<PostgresStore> {
        let connector = connector(&self.server)?;
        PostgresStore::start(self, connector).await
    }

    /// Connects with your own TLS connector: `tokio-postgres-rustls`, `postgres-native-tls`, or with certificates
    /// that [`connect`](Self::connect) does not accept.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect_with<T>(self, tls: T) -> Result<PostgresStore>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let connector = Connector::new(&self.server, tls);
        PostgresStore::start(self, connector).await
    }

    /// The SQL that creates schema and tables, as [`PostgresStore::schema_sql`] for the schema of this configuration.
    #[must_use]
    pub fn schema_sql(&self) -> String {
        schema::sql(&self.schema)
    }

    /// Creates the schema and its tables unless they are there, in one transaction: a crash leaves all of them
    /// or none. It is a deployment step for a role with the privilege `CREATE`.
    ///
    /// # Errors
    /// [`NewerSchema`](ackonce::ErrorKind::NewerSchema) if a newer version of this crate made them,
    /// [`Config`](ackonce::ErrorKind::Config) if they are not as any version made them or the role may not create them.
    pub async fn create_schema(&self) -> Result<()> {
        Self { tables: Tables::CreateMissing, ..self.clone() }.connect().await.map(drop)
    }
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
                waiting.answer(inner.requests.claims(&requests).await);
                inner.sweep_along(requests.len()).await;
            }
        };
        self.inner.thread.call(job).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        settlements.iter().try_for_each(|settlement| check_value_len("postgres", &settlement.action))?;
        let (inner, settlements) = (Arc::clone(&self.inner), settlements.to_vec());
        let job = |waiting: Waiting<_>| async move {
            // The settlement runs even if its caller is gone: the effect has happened.
            waiting.answer(inner.requests.settlements(&settlements).await);
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
    /// The statements for the store's schema.
    pub(crate) fn texts(&self) -> Texts<'_> {
        Texts::new(&self.config.schema).with_clock(self.config.clock)
    }

    /// Sweeps some records after a batch was written; its caller has its answer already.
    async fn sweep_along(&self, written: usize) {
        if self.config.sweep == Sweep::Automatic {
            self.sweeper.along(&self.client, written).await;
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
