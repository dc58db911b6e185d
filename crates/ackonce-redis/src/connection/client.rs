//! A client of the server: a connection, and the thread that drives it.

use std::sync::Arc;

use ackonce::Result;

use super::address::check_prefix;
use super::{Address, Link, Thread};
use crate::RedisConfig;
use crate::records::Call;

/// One store's client.
pub(crate) struct Client {
    pub(crate) link: Arc<Link>,
    thread: Thread,
}

impl Client {
    /// Connects and checks the server.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Self> {
        let address = Self::address(&config)?;
        let link = Arc::new(Link::new(address, config));
        let thread = Thread::start()?;
        let connecting = link.clone();
        thread.run(async move { connecting.connect().await }).await?;
        Ok(Self { link, thread })
    }

    /// The address in a configuration whose prefix is one, too.
    pub(crate) fn address(config: &RedisConfig) -> Result<Address> {
        check_prefix(&config.prefix)?;
        Address::parse(&config.url)
    }

    /// Sends all calls at once and returns their replies, in order. It goes on if its caller stops waiting.
    pub(crate) async fn trip(&self, calls: Arc<Vec<Call>>) -> Result<Vec<Vec<u8>>> {
        self.thread.run(self.link.clone().trip(calls)).await
    }
}
