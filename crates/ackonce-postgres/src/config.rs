//! The configuration of a store's connections.

use std::fmt;
use std::time::Duration;

use ackonce::store::{Names, OnUnsafe, Sweep};
use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, Socket};

use crate::connector::Connector;
use crate::sql::NOW;
use crate::{PostgresStore, SchemaName, tls};

/// The choice to keep statements prepared on their connection or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prepare {
    /// Prepared once per connection: the server plans them once.
    #[default]
    Cached,
    /// Sent whole each time, still in one round trip: for poolers that give each transaction another
    /// connection, such as PgBouncer in transaction mode before 1.21 or without `max_prepared_statements`.
    Never,
}

/// The policy for missing tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tables {
    /// Refuse to connect, and say how to create them.
    #[default]
    Expected,
    /// Create them; the role needs the privilege `CREATE`.
    CreateMissing,
}

/// The configuration of a store; [`PostgresStore::connect`] takes all defaults.
///
/// ```no_run
/// use std::time::Duration;
/// use ackonce_postgres::{PostgresConfig, Prepare, SchemaName, Tables};
/// # async fn open() -> Result<(), ackonce::Error> {
/// let store = PostgresConfig::new("postgres://app@db.internal/app?target_session_attrs=read-write")?
///     .with_schema(SchemaName::new("dedup")?)
///     .with_tables(Tables::CreateMissing)
///     .with_prepare(Prepare::Never)
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PostgresConfig {
    pub(crate) server: Config,
    pub(crate) schema: SchemaName,
    pub(crate) connections: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) prepare: Prepare,
    pub(crate) on_unsafe: OnUnsafe,
    pub(crate) tables: Tables,
    pub(crate) sweep: Sweep,
    pub(crate) names: Names,
    /// The server's clock in SQL; the test that compares the statements with the protocol replaces it.
    pub(crate) clock: &'static str,
}

impl PostgresConfig {
    /// The defaults, for the server at `url`: a `postgres://` URL or libpq's `key=value` words.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the URL cannot be parsed. The message gives the reason and does not repeat the URL.
    pub fn new(url: &str) -> Result<Self> {
        url.parse::<Config>()
            .map(Self::from)
            .map_err(|e| Error::new(ErrorKind::Config, "postgres: the URL cannot be used").with_source(e))
    }

    /// Sets the schema of the tables (default `ackonce`).
    #[must_use]
    pub fn with_schema(mut self, schema: SchemaName) -> Self {
        self.schema = schema;
        self
    }

    /// Sets the most connections for claims and settlements (default 10, at least 1). They are opened when needed and
    /// kept; inboxes have a pool of their own.
    #[must_use]
    pub fn with_connections(mut self, most: usize) -> Self {
        self.connections = most.max(1);
        self
    }

    /// Sets the time limit of a claim or settlement, including the time to get a connection (default 5 s). After it the
    /// answer is [`Timeout`](ErrorKind::Timeout). Keep it at a third of the lease or below.
    #[must_use]
    pub fn with_request_timeout(mut self, wait: Duration) -> Self {
        self.request_timeout = wait;
        self
    }

    /// Sets the time for which a batch waits for a record that another transaction has written and not yet committed
    /// (default 250 ms), such as one with an [`PostgresGuard`](crate::PostgresGuard) in it. Then the claim of that record is answered
    /// busy, or its settlement with [`Locked`](ErrorKind::Locked), and the others of the batch go on. A settlement that
    /// travels alone waits for half of the request timeout.
    #[must_use]
    pub fn with_lock_timeout(mut self, wait: Duration) -> Self {
        self.lock_timeout = wait;
        self
    }

    /// Sets the use of prepared statements (default [`Prepare::Cached`]).
    #[must_use]
    pub fn with_prepare(mut self, prepare: Prepare) -> Self {
        self.prepare = prepare;
        self
    }

    /// Sets the policy for `fsync=off`, `full_page_writes=off` and unlogged tables (default [`OnUnsafe::Refuse`]).
    #[must_use]
    pub fn with_unsafe(mut self, policy: OnUnsafe) -> Self {
        self.on_unsafe = policy;
        self
    }

    /// Sets the policy for missing tables (default [`Tables::Expected`]).
    #[must_use]
    pub fn with_tables(mut self, tables: Tables) -> Self {
        self.tables = tables;
        self
    }

    /// Sets automatic or manual sweeps (default [`Sweep::Automatic`]).
    #[must_use]
    pub fn with_sweep(mut self, sweep: Sweep) -> Self {
        self.sweep = sweep;
        self
    }

    /// Sets the messages of which scope and ID are kept in readable form (default [`Names::Buried`]).
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Connects and checks the server. With `sslmode=require` in the URL and the crate's feature `tls` the
    /// connection is TLS, its certificate verified; without `sslmode` it is not.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect(self) -> Result<PostgresStore> {
        let connector = tls::connector(&self)?;
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

    /// Creates the schema and its tables unless they are there, in one transaction: a crash leaves all of them
    /// or none. It is a deployment step for a role with the privilege `CREATE`.
    ///
    /// # Errors
    /// [`NewerSchema`](ErrorKind::NewerSchema) if a newer version of this crate made them,
    /// [`Config`](ErrorKind::Config) if they are not as any version made them or the role may not create them.
    pub async fn create_schema(&self) -> Result<()> {
        Self { tables: Tables::CreateMissing, ..self.clone() }.connect().await.map(drop)
    }
}

impl From<Config> for PostgresConfig {
    /// The defaults, for that server.
    fn from(server: Config) -> Self {
        Self {
            server,
            schema: SchemaName::default(),
            connections: 10,
            request_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_millis(250),
            prepare: Prepare::Cached,
            on_unsafe: OnUnsafe::Refuse,
            tables: Tables::Expected,
            sweep: Sweep::Automatic,
            names: Names::Buried,
            clock: NOW,
        }
    }
}

impl fmt::Debug for PostgresConfig {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("server", &crate::connector::place(&self.server))
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .field("request_timeout", &self.request_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("prepare", &self.prepare)
            .field("sweep", &self.sweep)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
