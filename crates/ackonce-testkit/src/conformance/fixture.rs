//! The store under test, and the operations that the suite needs on it.

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce::store::{Inspect, Settle};
use async_trait::async_trait;

use crate::proxy::{Proxy, ProxyMode};

/// The store under test.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Another client of the same records, on its own connection if the store has connections.
    async fn open(&self) -> Arc<dyn Deduplicator>;

    /// The store as the next process finds it after this one was killed (`kill -9`): nothing that only the memory of
    /// this process holds may help it. Of files, [a copy](copied) that is opened elsewhere; of a server, new
    /// connections at least, and better a server that was killed, too. Clients that were opened before need not work
    /// any more.
    ///
    /// A store that keeps its records in this process hands out an empty one, and its description says
    /// [`LOST_WITH_PROCESS`](ackonce::store::Description::LOST_WITH_PROCESS): that is the only way round this.
    async fn reopen(&self) -> Arc<dyn Deduplicator>;

    /// A client of the same records that can be made to fail while the others work: [`Wire`] for a store on a server,
    /// [`Unbreakable`] for one that keeps its records in this process.
    async fn breakable(&self) -> Box<dyn Breakable>;

    /// A settlement that can never be carried out, such as one with an outcome beyond the store's limit; `None` if
    /// there is no such thing.
    fn impossible(&self) -> Option<Settle>;

    /// The number of records it holds, expired ones that were not yet dropped included, after it has done all it can to
    /// drop them: [`swept`] for a store that implements [`Inspect`].
    async fn held(&self) -> u64;

    /// Words that [`describe`](Deduplicator::describe) and `Debug` must not show: the password it connects with.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A client that can be made to fail.
#[async_trait]
pub trait Breakable: Send + Sync {
    /// The client.
    fn client(&self) -> Arc<dyn Deduplicator>;

    /// Makes each call of the client fail like that from now on.
    ///
    /// # Errors
    /// It cannot be made to fail like that. Accepted from a store whose description says
    /// [`LOST_WITH_PROCESS`](ackonce::store::Description::LOST_WITH_PROCESS); of others only [`Outage::ReplyLost`], and then
    /// the reason is printed: no test of the suite tells `Safe` from `Unknown` for such a store.
    async fn fail(&self, failure: Outage) -> Result<(), CannotFail>;

    /// Ends the failure.
    async fn heal(&self);
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Nothing of a request reaches the records: the server is away, the file is locked, the disk is full.
    Away,
    /// A request is carried out, and its answer does not come: the connection breaks in between, or the flush of a
    /// commit fails that is in the file nevertheless.
    ReplyLost,
}

/// The store cannot be made to fail like that, for this reason.
#[derive(Debug, Clone, Copy)]
pub struct CannotFail(pub &'static str);

/// The client of a store that keeps its records in this process: it cannot fail.
#[derive(Debug)]
pub struct Unbreakable(pub Arc<dyn Deduplicator>);

#[async_trait]
impl Breakable for Unbreakable {
    fn client(&self) -> Arc<dyn Deduplicator> {
        self.0.clone()
    }

    async fn fail(&self, _: Outage) -> Result<(), CannotFail> {
        Err(CannotFail("its records are in this process"))
    }

    async fn heal(&self) {}
}

/// The client of a store on a server, connected through a [`Proxy`] that breaks the connection.
///
/// Its time-outs should be short, a second or two: the suite waits for them.
#[derive(Debug)]
pub struct Wire {
    /// The proxy between client and server.
    pub proxy: Proxy,
    /// The client behind it.
    pub client: Arc<dyn Deduplicator>,
}

#[async_trait]
impl Breakable for Wire {
    fn client(&self) -> Arc<dyn Deduplicator> {
        self.client.clone()
    }

    async fn fail(&self, failure: Outage) -> Result<(), CannotFail> {
        match failure {
            Outage::Away => {
                self.proxy.refuse().await;
                self.proxy.cut_all().await;
            }
            Outage::ReplyLost => self.proxy.set_replies(ProxyMode::Blackhole),
        }
        Ok(())
    }

    async fn heal(&self) {
        self.proxy.set(ProxyMode::Pass);
        // A connection that has lost bytes stays as it is.
        self.proxy.cut_all().await;
        self.proxy.accept().await.unwrap_or_else(|e| panic!("the proxy cannot listen again: {e}"));
    }
}

/// The number of records that a store holds after a sweep; for [`Fixture::held`].
///
/// # Panics
/// The store cannot answer.
pub async fn swept(store: &dyn Inspect) -> u64 {
    store.sweep().await.unwrap_or_else(|e| panic!("the store cannot sweep: {e}"));
    let stats = store.stats().await.unwrap_or_else(|e| panic!("the store cannot count: {e}"));
    stats.claimed + stats.released + stats.done + stats.buried
}

/// Copies all files of a folder into another one, as they are at this moment: the state in which a `kill -9` of the
/// process would leave them, for [`Fixture::reopen`]. Nothing may be written meanwhile; files may be open.
///
/// # Errors
/// A file cannot be read or written.
pub fn copied(from: impl AsRef<std::path::Path>, to: impl AsRef<std::path::Path>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.as_ref().join(entry.file_name()))?;
        }
    }
    Ok(())
}
