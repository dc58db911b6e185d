//! The store: one batch, one trip.

use std::fmt;
use std::sync::Arc;

use ackonce::store::{ClaimRequest, Claimed, Description, Settle, Settled, Settlement};
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use async_trait::async_trait;

use crate::RedisConfig;
use crate::address::{self, Address};
use crate::io::Io;
use crate::link::Link;
use crate::requests::{Request, body_len};

/// The longest outcome or reason that is stored, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Records in Redis or Valkey: for any number of processes. Clones share one connection.
///
/// A claim or settlement is carried out even if its caller is gone. The connection is closed when the
/// last clone is dropped.
#[derive(Clone)]
pub struct RedisStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) link: Arc<Link>,
    pub(crate) io: Io,
}

impl RedisStore {
    /// Connects to the server or cluster at `url` with the defaults of [`RedisConfig`], and checks it.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the URL, the user or password; a server that is older than Redis 7.0, is
    ///   a sentinel, or evicts records to make room ([`OnUnsafe::Refuse`](crate::OnUnsafe)).
    /// - [`ReadOnly`](ErrorKind::ReadOnly): it is a replica.
    /// - [`Unavailable`](ErrorKind::Unavailable): it cannot be reached, or is still loading.
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::start(RedisConfig::new(url)).await
    }

    pub(crate) async fn start(config: RedisConfig) -> Result<Self> {
        address::prefix(&config.prefix)?;
        let address = Address::parse(&config)?;
        let link = Arc::new(Link::new(address, config));
        let io = Io::start()?;
        let connecting = link.clone();
        io.run(async move { connecting.connect().await }).await?;
        Ok(Self { inner: Arc::new(Inner { link, io }) })
    }

    /// At the memory limit, expired records make room: the requested buckets are swept, so that the
    /// next try may find room. Other requests, and [`sweep`](ackonce::store::Inspect), sweep the other buckets.
    async fn make_room(&self, requests: &[ClaimRequest]) {
        let mut tags: Vec<u16> = requests.iter().map(Request::tag).take(64).collect();
        tags.sort_unstable();
        tags.dedup();
        match self.inner.sweep_tags(&tags).await {
            Ok(swept) => tracing::info!(target: "ackonce", dropped = swept.dropped, "redis is full: swept"),
            Err(error) => {
                tracing::warn!(target: "ackonce", error = %ackonce::chain(&error), "redis is full, and could not be swept")
            }
        }
    }
}

#[async_trait]
impl Deduplicator for RedisStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let answers = self.inner.ask(requests).await;
        if answers.as_ref().is_err_and(|e| e.kind() == ErrorKind::Full) {
            self.make_room(requests).await;
        }
        answers
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        settlements.iter().try_for_each(|s| fits(&s.action))?;
        self.inner.ask(settlements).await
    }

    fn describe(&self) -> Description {
        Description { name: self.inner.link.address.name.clone(), weaknesses: self.inner.link.weaknesses() }
    }
}

fn fits(action: &Settle) -> Result<()> {
    let len = body_len(action);
    match len {
        0..=MAX_VALUE_LEN => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("redis: an outcome or reason of {len} bytes, at most {MAX_VALUE_LEN} are stored"),
        )),
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("name", &self.inner.link.address.name)
            .field("config", &self.inner.link.config)
            .finish_non_exhaustive()
    }
}
