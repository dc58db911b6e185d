//! A publisher for messages of one's own, with the care that dead letters get.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Error, ErrorKind, Result};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use crate::connection::{Source, Trouble};
use crate::publisher::{AmqpRefusal, Payload, Post, Publisher, Upstream};

/// Publishes messages, mandatory and confirmed, several at a time on one connection that is opened again when it is lost.
/// Cloning is cheap; clones share it.
#[derive(Debug, Clone)]
pub struct AmqpPublisher {
    publisher: Arc<Publisher>,
    upstream: Arc<Upstream>,
}

impl AmqpPublisher {
    /// A publisher at `url`, in the form of [`AmqpConsumer::new`](crate::AmqpConsumer::new); `name` stands in its log lines
    /// and in the connection's name. It connects when it is first needed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: a URL that cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(url: &str, name: &str) -> Result<Self> {
        let source = Source::urls([url]);
        source.check()?;
        let upstream = Arc::new(Upstream::new(source, name.to_owned()));
        Ok(Self { publisher: Arc::new(Publisher::start(upstream.clone())), upstream })
    }

    /// Checks that the broker answers and has the exchange; the default one, `""`, is always there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the broker refuses or has no such exchange, [`ErrorKind::Unavailable`] if it is away.
    pub async fn check(&self, exchange: &str) -> Result<()> {
        let open = self.upstream.channel().await.map_err(|trouble| trouble.error("RabbitMQ"))?;
        if !exchange.is_empty() {
            let name = short("exchange", exchange)?;
            let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let kind = lapin::ExchangeKind::Direct;
            let asked = open.channel.exchange_declare(name, kind, passive, FieldTable::default()).await;
            asked.map_err(|error| Trouble::from(error).error(&format!("the exchange {exchange}")))?;
        }
        // One that closes by itself is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), open.channel.close(200, "OK".into())).await;
        Ok(())
    }

    /// Publishes a message, and returns when the queues that it leads to have confirmed it.
    ///
    /// # Errors
    /// No queue has it for certain; unless it is [refused](AmqpRefusal::is_about_the_message), one may.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: BasicProperties,
        payload: Bytes,
    ) -> std::result::Result<(), AmqpRefusal> {
        let short =
            |name: &str, text: &str| short(name, text).map_err(|e| AmqpRefusal::Message(e.to_string()));
        let (exchange, routing_key) = (short("exchange", exchange)?, short("routing key", routing_key)?);
        let payload = Payload::Bytes(payload);
        self.publisher.publish(Post { exchange, routing_key, properties, payload }).await
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.upstream.close().await;
    }
}

fn short(name: &str, text: &str) -> Result<ShortString> {
    ShortString::try_new(text)
        .map_err(|e| Error::new(ErrorKind::Config, format!("the name of the {name}")).with_source(e))
}
