//! The store: one batch, one trip.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement, check_value_len};
use ackonce::{Deduplicator, ErrorKind, Result};
use async_trait::async_trait;

use crate::RedisConfig;
use crate::connection::Client;
use crate::records::TAGS;
use crate::request::Request;

/// Records in Redis or Valkey: for any number of processes. Clones share one connection.
///
/// A claim or settlement is carried out even if its caller is gone. The connection is closed when the
/// last clone is dropped.
///
/// ```no_run
/// use ackonce::Deduplicator;
/// use ackonce_redis::RedisStore;
///
/// # async fn open() -> ackonce::Result<()> {
/// let store = RedisStore::connect("redis://app:password@redis.internal/2").await?;
/// for weakness in store.describe().weaknesses {
///     eprintln!("the store is weaker than promised: {weakness}");
/// }
/// # Ok(()) }
/// ```
///
/// An answer is as durable as the server's log: `appendonly yes` and `appendfsync always` for records that a power cut must not
/// take. A failover may forget the latest records; [`describe`](Deduplicator::describe) lists this and all other weaknesses.
#[derive(Clone)]
pub struct RedisStore {
    pub(crate) client: Arc<Client>,
    /// The tag from which a full store is swept next.
    next_to_sweep: Arc<AtomicU16>,
}

/// The tags that are swept for each claim that finds no room: all of them after 32 such claims. It divides the number of tags.
const SWEPT_WHEN_FULL: u16 = 512;

impl RedisStore {
    /// Connects to the server or cluster at `url` with the defaults of [`RedisConfig`], and checks it.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the URL, the user or password; a server that is older than Redis 7.0, is
    ///   a sentinel, or evicts records to make room ([`OnUnsafe::Refuse`](crate::OnUnsafe)).
    /// - [`ReadOnly`](ErrorKind::ReadOnly): it is a replica.
    /// - [`Unavailable`](ErrorKind::Unavailable): it cannot be reached, or is still loading.
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        RedisConfig::new(url).connect().await
    }

    /// At the memory limit, expired records make room: the requested buckets are swept, so that the
    /// next try may find room. Other requests, and [`sweep`](ackonce::store::Inspect), sweep the other buckets.
    async fn make_room(&self, requests: &[ClaimRequest]) {
        // Those of the requests, which need room, and some of all the others: the same requests come again until there is room.
        let from = self.next_to_sweep.fetch_add(SWEPT_WHEN_FULL, Ordering::Relaxed);
        let others = (0..SWEPT_WHEN_FULL).map(|n| from.wrapping_add(n) % TAGS);
        let mut tags: Vec<u16> = requests.iter().map(Request::tag).take(64).chain(others).collect();
        tags.sort_unstable();
        tags.dedup();
        match self.client.sweep_tags(&tags).await {
            Ok(swept) => tracing::info!(target: "ackonce", dropped = swept.dropped, "redis is full: swept"),
            Err(error) => {
                tracing::warn!(target: "ackonce", error = %ackonce::chain(&error), "redis is full, and could not be swept")
            }
        }
    }
}

impl RedisConfig {
    /// Looks at the URL and the prefix. Nothing is connected.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), naming the bad part and never a password.
    pub fn check(&self) -> Result<()> {
        Client::address(self).map(drop)
    }

    /// Connects, and checks the server.
    ///
    /// # Errors
    /// As [`RedisStore::connect`].
    pub async fn connect(self) -> Result<RedisStore> {
        let client = Arc::new(Client::connect(self).await?);
        Ok(RedisStore { client, next_to_sweep: Arc::default() })
    }
}

#[async_trait]
impl Deduplicator for RedisStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let answers = self.client.ask(requests).await;
        if answers.as_ref().is_err_and(|e| e.kind() == ErrorKind::Full) {
            self.make_room(requests).await;
        }
        answers
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        settlements.iter().try_for_each(|settlement| check_value_len("redis", &settlement.action))?;
        self.client.ask(settlements).await
    }

    fn describe(&self) -> Description {
        Description { name: self.client.link.address.name.clone(), weaknesses: self.client.link.weaknesses() }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("name", &self.client.link.address.name)
            .field("config", &self.client.link.config)
            .finish_non_exhaustive()
    }
}
