//! What is looked at, and said, before the first message.

use std::time::Duration;

use ackonce::{Error, ErrorKind, IdSource, MessageIds, OnMismatch, Result, Settings};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use crate::connect::Trouble;
use crate::delays::Delays;

/// How long the broker may take to answer a question.
const ASK: Duration = Duration::from_secs(30);

/// Refuses settings that cannot work with a broker.
pub(crate) fn settings(settings: &Settings, ids: &MessageIds) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::Config, text));
    if ids.sources().contains(&IdSource::Coordinates) {
        return refuse(
            "IdSource::Coordinates: a queue has none; a delivery tag counts deliveries, not messages",
        );
    }
    if settings.on_mismatch == OnMismatch::HandBack {
        return refuse("OnMismatch::HandBack: the broker would deliver the message again, for ever");
    }
    Ok(())
}

/// Warns of handlers that may run until the broker has lost patience.
pub(crate) fn run_limit(run_limit: Duration, consumer_timeout: Duration, scope: &str) {
    if run_limit >= consumer_timeout {
        tracing::warn!(target: "ackonce", scope, run_limit_s = run_limit.as_secs(), consumer_timeout_s = consumer_timeout.as_secs(),
            "Settings::run_limit is not below the broker's consumer_timeout: a handler that runs so long loses its \
            channel, and all that was prefetched is delivered again");
    }
}

/// What must be there: the queue, the place for dead letters, the delay queues. Nothing is declared but what
/// [`Delays::create`] asks for.
pub(crate) struct Topology<'a> {
    pub(crate) queue: &'a ShortString,
    pub(crate) dead_letters: Option<(&'a ShortString, Option<&'a ShortString>)>,
    pub(crate) delays: Option<&'a Delays>,
}

impl Topology<'_> {
    /// # Errors
    /// [`ErrorKind::Config`] for what is missing or refused, [`ErrorKind::Unavailable`] for a broker that goes away.
    pub(crate) async fn check(&self, connection: &Connection) -> Result<()> {
        self.queue_is_there(connection, self.queue).await?;
        match self.dead_letters {
            None => {}
            Some((exchange, Some(key))) if exchange.as_str().is_empty() => {
                self.queue_is_there(connection, key).await?;
            }
            Some((exchange, None)) if exchange.as_str().is_empty() => {
                let why =
                    "the default exchange takes no dead letters without a routing key: they would come back";
                return Err(Error::new(ErrorKind::Config, why));
            }
            Some((exchange, _)) => {
                let what = format!("the dead-letter exchange {exchange:?} cannot be used");
                self.ask(connection, &what, async |channel| {
                    // The kind is not looked at.
                    let passive =
                        ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                    let table = FieldTable::default();
                    channel.exchange_declare(exchange.clone(), ExchangeKind::Direct, passive, table).await
                })
                .await?;
            }
        }
        if let Some(delays) = self.delays {
            let what = "a delay queue cannot be used (Delays::create declares them)";
            self.ask(connection, what, async |channel| delays.declare(&channel, self.queue).await).await?;
        }
        Ok(())
    }

    async fn queue_is_there(&self, connection: &Connection, queue: &ShortString) -> Result<()> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.ask(connection, &format!("the queue {queue:?} cannot be used"), async |channel| {
            channel.queue_declare(queue.clone(), passive, FieldTable::default()).await.map(drop)
        })
        .await
    }

    /// On a channel of its own: a no closes it.
    async fn ask(
        &self,
        connection: &Connection,
        what: &str,
        question: impl AsyncFnOnce(lapin::Channel) -> lapin::Result<()>,
    ) -> Result<()> {
        let asking = async {
            let channel = connection.create_channel().await?;
            question(channel.clone()).await?;
            channel.close(200, "OK".into()).await
        };
        match tokio::time::timeout(ASK, asking).await {
            Ok(answer) => answer.map_err(|e| Trouble::Amqp(e).error(what)),
            Err(_) => Err(Trouble::Slow.error(what)),
        }
    }
}
