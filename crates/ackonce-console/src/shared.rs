//! The parts that every answer needs.

use std::sync::Arc;

use ackonce::CancellationToken;
use ackonce::store::Inspect;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::feed::Feed;
use crate::options::Writes;

/// The most pages that are open at once.
const PAGES: usize = 32;

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Inspect>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) access: Access,
    pub(crate) writes: Writes,
    /// Room for open pages.
    pub(crate) pages: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Inspect>,
        feed: Arc<Feed>,
        access: Access,
        writes: Writes,
        stop: CancellationToken,
    ) -> Self {
        Self { store, feed, access, writes, pages: Arc::new(Semaphore::new(PAGES)), stop }
    }
}
