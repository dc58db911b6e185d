//! The configuration of a store's connection.

use std::fmt;
use std::time::Duration;

use ackonce::store::{Names, OnUnsafe};

/// The replicas that must have a change before it is answered (Redis's `WAIT`).
///
/// Each trip waits for that many of them, and fails while fewer can be reached. It makes a loss at a failover less
/// likely and cannot exclude it. For effects that must not double at a failover, take PostgreSQL with synchronous replication.
///
/// ```
/// use std::time::Duration;
/// use ackonce_redis::{RedisConfig, Replicas};
///
/// let replicas = Replicas { count: 1, timeout: Duration::from_millis(500) };
/// let config = RedisConfig::new("redis://redis.internal").with_replicas(replicas);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// The number of replicas.
    pub count: u32,
    /// The time to wait for them. With fewer by then, the outcome is unknown: an
    /// [`Unavailable`](ackonce::ErrorKind::Unavailable) error, and the same claim or settlement is repeated.
    pub timeout: Duration,
}

/// The configuration of a store's connection; [`RedisStore::connect`](crate::RedisStore::connect) uses the defaults.
///
/// ```no_run
/// # async fn connect() -> ackonce::Result<()> {
/// use std::time::Duration;
/// use ackonce_redis::RedisConfig;
///
/// let store = RedisConfig::new("redis://app:password@redis.internal/2")
///     .with_prefix("billing")
///     .with_response_timeout(Duration::from_secs(1))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) check_interval: Duration,
    pub(crate) unsafe_server: OnUnsafe,
    pub(crate) replicas: Option<Replicas>,
    pub(crate) names: Names,
    #[cfg(feature = "tls")]
    pub(crate) root_certificate: Option<Vec<u8>>,
    #[cfg(feature = "tls")]
    pub(crate) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl RedisConfig {
    /// The defaults, for the server at `url`:
    ///
    /// | URL | server |
    /// |---|---|
    /// | `redis://[[user]:password@]host[:port][/database]` | one server; port 6379 and database 0 unless given |
    /// | `rediss://…` | the same over TLS (feature `tls`) |
    /// | `redis+unix:///path[?db=2&user=…&pass=…]` | a Unix socket |
    /// | `redis+cluster://[[user]:password@]host[:port][,host[:port]…]` | Redis Cluster (feature `cluster`), found from any of the hosts |
    /// | `rediss+cluster://…` | the same over TLS |
    ///
    /// `valkey` stands for `redis` anywhere. User and password are percent-encoded.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "ackonce".into(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            check_interval: Duration::from_secs(30),
            unsafe_server: OnUnsafe::Refuse,
            replicas: None,
            names: Names::Buried,
            #[cfg(feature = "tls")]
            root_certificate: None,
            #[cfg(feature = "tls")]
            client_certificate: None,
        }
    }

    /// The beginning of the store's keys (default `ackonce`): 1 to 64 bytes without braces. Stores with
    /// different prefixes share nothing.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The time limit for connecting; after it, calls answer [`Unavailable`](ackonce::ErrorKind::Unavailable)
    /// (default 2 s).
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The time limit for an answer; after it, calls answer [`Timeout`](ackonce::ErrorKind::Timeout), outcome unknown
    /// (default 2 s). The time that [`with_replicas`](Self::with_replicas) waits comes on top. Keep it well below the
    /// lease, since heartbeats wait here too, and above the longest stall that you know of (a fork for a
    /// snapshot, another program's slow script).
    #[must_use]
    pub fn with_response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// The time between two checks of the server's settings and role (default 30 s, at most 45 s). The first call after
    /// that time makes the check; every new connection is checked, too.
    #[must_use]
    pub fn with_check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval.min(Duration::from_secs(45));
        self
    }

    /// The policy for a server that is set up to lose records (default [`OnUnsafe::Refuse`]): one that evicts
    /// keys to make room, or a replica that takes writes. A read-only replica is always refused.
    ///
    /// A setting that becomes unsafe later is noticed within [`with_check_interval`](Self::with_check_interval). Claims
    /// and settlements then fail with an error that is [safe](ackonce::store::Repeat::Safe) to repeat, so that consumers
    /// wait and go on once the setting is set back.
    #[must_use]
    pub fn with_unsafe(mut self, policy: OnUnsafe) -> Self {
        self.unsafe_server = policy;
        self
    }

    /// Answers only once that many replicas have the change (default: none). It makes a loss at a failover less
    /// likely, but cannot exclude it, since Redis may promote another replica. Each trip waits for
    /// the replicas, and so do the trips behind it on the connection.
    #[must_use]
    pub fn with_replicas(mut self, replicas: Replicas) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// The records that keep scope and message ID in readable form, for operators (default [`Names::Buried`]: released and
    /// buried ones, and claims that were renewed). [`Names::Keep`] takes about 30 bytes more for each record, plus the
    /// length of both (`examples/bytes_per_id.rs` measures it).
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Trusts this certificate authority (PEM) instead of those of the system.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// Shows this certificate with its private key (both PEM) to the server.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }
}

/// Without the URL, which may carry a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("check_interval", &self.check_interval)
            .field("unsafe_server", &self.unsafe_server)
            .field("replicas", &self.replicas)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
