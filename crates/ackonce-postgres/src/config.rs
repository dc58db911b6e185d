//! The configuration of a store's connections.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use ackonce::store::{Names, OnUnsafe, Sweep};
use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::SchemaName;
use crate::records::NOW;

/// The choice to keep statements prepared on their connection or not.
///
/// Planning a claim takes the server longer than running it, so keep the default unless a pooler refuses it; a connection
/// then fails with [`Config`](ErrorKind::Config), and the message names this setting.
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
///
/// With [`CreateMissing`](Self::CreateMissing) several processes may start at once: one creates the tables, the others wait for it.
/// In production the role of the consumers usually lacks the privilege `CREATE`; then run
/// [`PostgresConfig::create_schema`] or the output of [`PostgresStore::schema_sql`](crate::PostgresStore::schema_sql) when you
/// deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tables {
    /// Refuse to connect, and say how to create them.
    #[default]
    Expected,
    /// Create them; the role needs the privilege `CREATE`.
    CreateMissing,
}

/// The configuration of a store; [`PostgresStore::connect`](crate::PostgresStore::connect) takes all defaults.
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
    /// (default 250 ms), such as one with a [`PostgresGuard`](crate::PostgresGuard) in it. Then the claim of that record is answered
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
            .field("server", &place(&self.server))
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

/// `host:port/database`, without user and password.
pub(crate) fn place(server: &Config) -> String {
    let mut place = String::new();
    let ports = server.get_ports();
    for (n, host) in server.get_hosts().iter().enumerate() {
        if n > 0 {
            place.push(',');
        }
        match host {
            Host::Tcp(name) => place.push_str(name),
            #[cfg(unix)]
            Host::Unix(path) => {
                let _ = write!(place, "{}", path.display());
            }
        }
        // One port may serve for all hosts.
        let port = ports.get(n).or_else(|| ports.first()).unwrap_or(&5432);
        let _ = write!(place, ":{port}");
    }
    if let Some(database) = server.get_dbname().or(server.get_user()) {
        let _ = write!(place, "/{database}");
    }
    place
}
