//! Checks and warnings before the first message.

use std::time::Duration;

use ackonce::{Error, ErrorKind, IdSource, OnFailure, OnMismatch, Result};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use crate::connect::Trouble;
use crate::delays::Delays;
use crate::{AmqpConsumer, OnMissing, Order};

/// The time limit for the broker to answer a question.
const ASK: Duration = Duration::from_secs(30);

/// Refuses settings that cannot work with a broker.
///
/// # Errors
/// [`ErrorKind::Config`], naming the setting.
pub(crate) fn settings(consumer: &AmqpConsumer) -> Result<()> {
    consumer.settings.check()?;
    consumer.source.check()?;
    let refuse = |text: &str| Err(Error::new(ErrorKind::Config, text));
    if consumer.ids.sources().contains(&IdSource::Coordinates) {
        return refuse(
            "IdSource::Coordinates: a queue has none; a delivery tag counts deliveries, not messages",
        );
    }
    if consumer.settings.on_mismatch == OnMismatch::HandBack {
        return refuse("OnMismatch::HandBack: the broker would deliver the message again, for ever");
    }
    if consumer.delays.is_some() && consumer.order != Order::Unordered {
        return refuse(
            "AmqpConsumer::with_order with AmqpConsumer::with_delays: a delayed message comes back behind those that \
             were published since, so no order can be kept; leave one of the two out",
        );
    }
    match &consumer.dead_letters {
        Some((exchange, None)) if exchange.is_empty() => {
            return refuse(
                "AmqpConsumer::with_dead_letters: the default exchange takes no dead letters without a routing key, they \
                 would come back; name a queue with AmqpConsumer::with_dead_letters_to(\"\", \"QUEUE\")",
            );
        }
        Some((exchange, Some(key))) if exchange.is_empty() && *key == consumer.queue => {
            return refuse(
                "AmqpConsumer::with_dead_letters_to: the dead letters would go to the queue that is consumed, and come \
                 back from there; name another queue",
            );
        }
        _ => {}
    }
    if consumer.dead_letters.is_none() && consumer.on_missing == Some(OnMissing::Bury) {
        tracing::warn!(target: "ackonce", scope = consumer.scope.name(), queue = consumer.queue,
            "OnMissing::Bury without AmqpConsumer::with_dead_letters: the payload of a message without an ID is given up");
    }
    handed_back(consumer)
}

/// A message that is handed back is delivered again at once, and a quorum queue with a delivery limit soon drops it.
///
/// # Errors
/// [`ErrorKind::Config`] for a setting that hands messages back where there are no delay queues.
pub(crate) fn handed_back(consumer: &AmqpConsumer) -> Result<()> {
    if consumer.delays.is_some() {
        return Ok(());
    }
    let (settings, max_age) = (&consumer.settings, consumer.max_age());
    let refuse = |setting: &str, keep: &str| {
        let text = format!(
            "{setting}: a message that is handed back to RabbitMQ is delivered again at once, and each time counts \
             against the delivery limit of a quorum queue, which then drops it; give AmqpConsumer::with_delays, so that \
             it waits in a queue instead, or {keep}"
        );
        Err(Error::new(ErrorKind::Config, text))
    };
    let longer = format!(
        "leave it at its default; {} s or more, 5/6 of AmqpConsumer::with_consumer_timeout, is the same",
        max_age.as_secs()
    );
    if settings.on_failure == OnFailure::HandBack {
        return refuse("Settings::on_failure is OnFailure::HandBack", "use OnFailure::Retry");
    }
    if settings.busy_timeout < max_age {
        return refuse(&format!("Settings::busy_timeout is {:?}", settings.busy_timeout), &longer);
    }
    if settings.store_timeout < max_age {
        return refuse(&format!("Settings::store_timeout is {:?}", settings.store_timeout), &longer);
    }
    Ok(())
}

/// A stream keeps no track of its consumers' progress.
pub(crate) fn stream(queue: &ShortString) -> Error {
    let text = format!(
        "{:?} is a stream: it does not keep what was acknowledged, so messages published while no consumer runs would be \
         passed over. Consume a quorum or classic queue that is bound to the same exchange",
        queue.as_str()
    );
    Error::new(ErrorKind::Config, text)
}

/// A dead letter that is consumed again is no dead letter.
pub(crate) fn circle(exchange: &ShortString, queue: &ShortString) -> Error {
    let text = format!(
        "AmqpConsumer::with_dead_letters: the exchange {:?} leads back to the queue {:?} that is consumed; bind a queue \
         of its own to an exchange of its own, or choose a routing key with AmqpConsumer::with_dead_letters_to",
        exchange.as_str(),
        queue.as_str()
    );
    Error::new(ErrorKind::Config, text)
}

/// Asks the broker whether an existing queue is a stream, by declaring it as one: for any other type it refuses, naming
/// the argument, and changes nothing. `None` if that cannot be told, for want of the right to configure it for instance.
pub(crate) async fn is_stream(connection: &Connection, queue: &ShortString) -> Option<bool> {
    let asking = async {
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), passive, FieldTable::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), durable, arguments).await?;
        channel.close(200, "OK".into()).await
    };
    match tokio::time::timeout(ASK, asking).await {
        Ok(Ok(())) => Some(true),
        Ok(Err(error)) => {
            let text = error.to_string();
            let other = ["x-queue-type", "'durable'"].iter().any(|argument| text.contains(argument));
            // Of the right type, with other arguments, if it is not that one.
            text.contains("inequivalent arg").then_some(!other)
        }
        Err(_) => None,
    }
}

/// Warns of handlers that may run until the broker has lost patience.
pub(crate) fn run_limit(run_limit: Duration, consumer_timeout: Duration, scope: &str) {
    if run_limit >= consumer_timeout {
        tracing::warn!(target: "ackonce", scope, run_limit_s = run_limit.as_secs(), consumer_timeout_s = consumer_timeout.as_secs(),
            "Settings::handler_timeout is not below the broker's consumer_timeout: a handler that runs so long loses its \
            channel, and all that was prefetched is delivered again");
    }
}

/// Checks the queue, the place for dead letters and the delay queues. Nothing is declared but the queues that
/// [`Delays::create`] asks for.
pub(crate) struct Topology<'a> {
    pub(crate) queue: &'a ShortString,
    pub(crate) dead_letters: Option<(&'a ShortString, Option<&'a ShortString>)>,
    pub(crate) delays: Option<&'a Delays>,
}

impl Topology<'_> {
    /// # Errors
    /// [`ErrorKind::Config`] for a queue or an exchange that is missing or refused, [`ErrorKind::Unavailable`] for a broker that goes away.
    pub(crate) async fn check(&self, connection: &Connection) -> Result<()> {
        self.queue_is_there(connection, self.queue).await?;
        match self.dead_letters {
            None => {}
            Some((exchange, Some(key))) if exchange.as_str().is_empty() => {
                self.queue_is_there(connection, key).await?;
            }
            Some((exchange, _)) => {
                let what = format!("the dead-letter exchange {:?} cannot be used", exchange.as_str());
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
        self.ask(connection, &format!("the queue {:?} cannot be used", queue.as_str()), async |channel| {
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
            Err(_) => Err(Trouble::Slow(ASK).error(what)),
        }
    }
}
