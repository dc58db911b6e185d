//! Questions to the broker about the queue, the place for dead letters and the delay queues.

use std::time::Duration;

use ackonce::{Error, ErrorKind, Result};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use crate::connection::Trouble;
use crate::delays::Delays;

/// The time limit for the broker to answer a question.
const ASK: Duration = Duration::from_secs(30);

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
