//! Store URLs, understood in one place: by the program and by the examples.

mod arg;
mod existing;
mod postgres;
mod redis;
mod sqlite;
mod url;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ackonce::store::Inspect;
use ackonce::{CancellationToken, Deduplicator, MemoryStore, OnStart, Result};
use ackonce_postgres::PostgresStore;
use ackonce_redis::RedisStore;
use ackonce_sqlite::SqliteStore;

pub use ackonce::connect_at_start;
pub use arg::StoreUrlParser;
pub(crate) use existing::refused;
pub use postgres::PostgresUrl;
pub use redis::RedisUrl;
pub use sqlite::SqliteUrl;
pub use url::UrlError;

use url::Parts;

/// The forms of a store's URL.
pub const SYNTAX: &str = "one of
  memory:
  sqlite:PATH                       ?synchronous=full|normal, busy_timeout_ms=N, cache_bytes=N, checkpoint_pages=N,
                                    max_bytes=N, generation=N, sweep=automatic|manual, names=buried|keep|omit,
                                    fuse=refuse|allow
  redis://USER:PASSWORD@HOST:PORT/DB, rediss:// (TLS), redis+cluster://HOST,HOST, rediss+cluster://, redis+unix:///PATH
                                    ?prefix=NAME, connect_timeout_ms=N, response_timeout_ms=N, check_interval_ms=N,
                                    unsafe=refuse|downgrade, names=buried|keep|omit, replicas=N, replicas_timeout_ms=N
  postgres://USER:PASSWORD@HOST:PORT/DB
                                    ?schema=NAME, connections=N, request_timeout_ms=N, lock_timeout_ms=N,
                                    prepare=cached|never, unsafe=refuse|downgrade, tables=expected|create,
                                    sweep=automatic|manual, names=buried|keep|omit, and libpq's such as sslmode=require
with options joined by &";

/// Names in the stores' errors, and the options of a URL that stand for them.
pub(crate) const OPTIONS_OF: &[(&str, &str)] = &[
    ("Tables::CreateMissing", "tables=create"),
    ("Tables::Expected", "tables=expected"),
    ("Prepare::Never", "prepare=never"),
    ("Prepare::Cached", "prepare=cached"),
    ("OnUnsafe::Downgrade", "unsafe=downgrade"),
    ("OnUnsafe::Refuse", "unsafe=refuse"),
    ("Synchronous::Normal", "synchronous=normal"),
    ("Synchronous::Full", "synchronous=full"),
    ("Fuse::Allow", "fuse=allow"),
    ("Fuse::Refuse", "fuse=refuse"),
    ("Sweep::Automatic", "sweep=automatic"),
    ("Sweep::Manual", "sweep=manual"),
    ("Names::Buried", "names=buried"),
    ("Names::Keep", "names=keep"),
    ("Names::Omit", "names=omit"),
    ("PostgresConfig::with_schema", "schema=NAME"),
    ("PostgresConfig::with_connections", "connections=N"),
    ("PostgresConfig::with_request_timeout", "request_timeout_ms=N"),
    ("PostgresConfig::with_lock_timeout", "lock_timeout_ms=N"),
    ("RedisConfig::with_prefix", "prefix=NAME"),
    ("RedisConfig::with_connect_timeout", "connect_timeout_ms=N"),
    ("RedisConfig::with_response_timeout", "response_timeout_ms=N"),
    ("RedisConfig::with_check_interval", "check_interval_ms=N"),
    ("RedisConfig::with_replicas", "replicas=N"),
    ("SqliteConfig::with_busy_timeout", "busy_timeout_ms=N"),
    ("SqliteConfig::with_cache_bytes", "cache_bytes=N"),
    ("SqliteConfig::with_checkpoint_pages", "checkpoint_pages=N"),
    ("SqliteConfig::with_generation", "generation=N"),
    ("SqliteConfig::with_max_bytes", "max_bytes=N"),
    ("with_schema", "schema=NAME"),
    ("with_connections", "connections=N"),
    ("with_request_timeout", "request_timeout_ms=N"),
    ("with_lock_timeout", "lock_timeout_ms=N"),
    ("with_prefix", "prefix=NAME"),
    ("with_connect_timeout", "connect_timeout_ms=N"),
    ("with_response_timeout", "response_timeout_ms=N"),
    ("with_check_interval", "check_interval_ms=N"),
    ("with_replicas", "replicas=N"),
    ("with_busy_timeout", "busy_timeout_ms=N"),
    ("with_cache_bytes", "cache_bytes=N"),
    ("with_checkpoint_pages", "checkpoint_pages=N"),
    ("with_generation", "generation=N"),
    ("with_max_bytes", "max_bytes=N"),
];

/// The store of processed message IDs, as written on a command line.
///
/// Shown without its passwords, by `Display` and `Debug` alike; errors do not repeat them either.
///
/// ```
/// use ackonce_cli::stores::{Place, StoreUrl};
/// let url: StoreUrl = "sqlite:/var/lib/app/dedup.db?busy_timeout_ms=2000".parse()?;
/// assert!(matches!(url.place(), Place::Sqlite(_)));
/// let url: StoreUrl = "postgres://app:s3cret@db.internal/app?schema=dedup".parse()?;
/// assert_eq!(url.to_string(), "postgres://app:***@db.internal/app?schema=dedup");
/// assert!("sqlite:dedup.db?sync=off".parse::<StoreUrl>().is_err());
/// # Ok::<(), ackonce_cli::stores::UrlError>(())
/// ```
#[derive(Clone)]
pub struct StoreUrl {
    text: String,
    shown: String,
    // Large, and an argument beside small ones.
    place: Box<Place>,
}

/// The meaning of a store's URL.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Place {
    /// `memory:`: in this process, forgotten when it ends.
    Memory,
    /// `sqlite:PATH`: a file, for all processes of this host.
    Sqlite(SqliteUrl),
    /// `redis://…` and its likes: a server or a cluster.
    Redis(RedisUrl),
    /// `postgres://…`: a server.
    Postgres(PostgresUrl),
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> std::result::Result<Self, UrlError> {
        let parts = Parts::of(text)?;
        let place = match parts.scheme.replace("valkey", "redis").as_str() {
            "memory" => parts.nothing_more().map(|()| Place::Memory)?,
            "sqlite" => Place::Sqlite(SqliteUrl::of(&parts)?),
            "redis" | "rediss" | "redis+cluster" | "rediss+cluster" | "redis+unix" => {
                Place::Redis(RedisUrl::of(&parts)?)
            }
            "postgres" | "postgresql" => Place::Postgres(PostgresUrl::of(&parts)?),
            _ => return Err(UrlError::UnknownScheme(parts.scheme.to_owned())),
        };
        Ok(Self { text: text.to_owned(), shown: parts.redacted(), place: Box::new(place) })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({})", self.shown)
    }
}

impl StoreUrl {
    /// As it was written, with its password: to be handed on, not to be shown.
    #[must_use]
    pub fn with_secrets(&self) -> &str {
        &self.text
    }

    /// The parsed URL.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Opens the store for a program that claims, and waits for one that is away as `policy` says.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`connect_at_start`]; and for a role of PostgreSQL that may not write the tables.
    pub async fn open_at_start(&self, policy: OnStart, shutdown: &CancellationToken) -> Result<Opened> {
        connect_at_start(policy, shutdown, &format!("the store {self}"), || self.open_to_claim()).await
    }

    /// A role that only reads is fine for an operator's look at the store. The other stores are refused by themselves.
    async fn open_to_claim(&self) -> Result<Opened> {
        let opened = self.open().await?;
        if let Place::Postgres(url) = self.place() {
            url.check_rights().await?;
        }
        Ok(opened)
    }

    /// True if the store has an inbox: a transaction that commits a handler's effect together with its record.
    #[must_use]
    pub fn has_inbox(&self) -> bool {
        matches!(self.place(), Place::Sqlite(_) | Place::Postgres(_))
    }

    /// The SQL that creates the store's tables; `None` for a store without tables. Nothing is connected.
    #[must_use]
    pub fn schema_sql(&self) -> Option<String> {
        match self.place() {
            Place::Memory | Place::Redis(_) => None,
            Place::Sqlite(_) => Some(ackonce_sqlite::schema_sql()),
            Place::Postgres(url) => Some(url.schema_sql()),
        }
    }

    /// Creates the store's tables unless they are there; nothing for a store without tables.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a missing right.
    pub async fn create_schema(&self) -> Result<()> {
        match self.place() {
            Place::Postgres(url) => {
                default_provider();
                url.create_schema().await
            }
            _ => self.open().await.map(drop),
        }
    }

    /// Opens the store. With TLS, where the program has not chosen its cryptography, that is ring.
    ///
    /// # Errors
    /// The store cannot be opened: a missing directory, a damaged file, a server that cannot be
    /// reached or would lose records.
    pub async fn open(&self) -> Result<Opened> {
        default_provider();
        Ok(match &*self.place {
            Place::Memory => Opened::Memory(MemoryStore::new()),
            Place::Sqlite(url) => Opened::Sqlite(url.open()?),
            Place::Redis(url) => Opened::Redis(url.open().await?),
            Place::Postgres(url) => Opened::Postgres(url.open().await?),
        })
    }
}

/// Chooses ring, unless the program has chosen.
pub(crate) fn default_provider() {
    #[cfg(feature = "tls")]
    // The only failure is that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A store that was opened. Cloning is cheap.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Opened {
    /// In this process.
    Memory(MemoryStore),
    /// In a SQLite file.
    Sqlite(SqliteStore),
    /// On Redis.
    Redis(RedisStore),
    /// On PostgreSQL.
    Postgres(PostgresStore),
}

impl Opened {
    /// The store as consumers take it.
    #[must_use]
    pub fn deduplicator(&self) -> Arc<dyn Deduplicator> {
        self.inspect()
    }

    /// The store as operators take it.
    #[must_use]
    pub fn inspect(&self) -> Arc<dyn Inspect> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Redis(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// The SQLite store, whose inbox commits effect and record together.
    #[must_use]
    pub fn sqlite(&self) -> Option<&SqliteStore> {
        match self {
            Self::Sqlite(store) => Some(store),
            _ => None,
        }
    }

    /// The PostgreSQL store, whose inbox commits effect and record together.
    #[must_use]
    pub fn postgres(&self) -> Option<&PostgresStore> {
        match self {
            Self::Postgres(store) => Some(store),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
