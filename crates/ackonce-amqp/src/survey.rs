//! Facts about a queue and its dead-letter places, and a sample of messages, for programs that judge a set-up. Nothing is
//! declared, bound or acknowledged.

use ackonce::{Error, ErrorKind, Result};
use lapin::options::{BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};

use crate::AmqpMessage;
use crate::connection::{Source, Trouble};
use crate::management::{Api, QueueFacts};

/// The broker's answer about a queue or an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmqpPlace {
    /// It can be used; `bindings` are those of an exchange, if the management API told them.
    There {
        /// The number of an exchange's bindings.
        bindings: Option<usize>,
    },
    /// It does not exist.
    Missing,
    /// It belongs to one connection alone (`exclusive`).
    Locked,
    /// The user may not ask for it, or something else stands against it.
    Refused(String),
}

/// The facts that [`AmqpSurvey::of`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct AmqpSurvey {
    /// The queue.
    pub queue: AmqpPlace,
    /// The exchange for dead letters that was asked for.
    pub dead_letters: Option<AmqpPlace>,
    /// True if that exchange leads back to the queue; `None` if it cannot be told.
    pub circle: Option<bool>,
    /// The facts that the management API tells of the queue, or the reason why it did not; `None` without its address.
    pub facts: Option<std::result::Result<QueueFacts, String>>,
    /// The dead-letter exchange that the queue's arguments or a policy name, and whether it can be used. The default exchange
    /// is there if the queue of its routing key is.
    pub own_dead_letters: Option<(String, AmqpPlace)>,
}

impl AmqpSurvey {
    /// Asks the broker at `url` for a queue, and for an exchange for dead letters; with `management` (`host:port`) also the
    /// management API. The caller bounds the time: a connection takes up to 30 s for each host.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the URL, a name, or a login that is refused.
    /// - [`Unavailable`](ErrorKind::Unavailable): no broker answers.
    pub async fn of(
        url: &str,
        queue: &str,
        dead_letters: Option<&str>,
        management: Option<&str>,
    ) -> Result<Self> {
        let source = Source::urls([url]);
        let connection = connect(&source, queue).await?;
        let (queue, exchange) = (short(queue)?, dead_letters.map(short).transpose()?);
        let mut survey = Self {
            queue: queue_place(&connection, &queue).await?,
            dead_letters: None,
            circle: None,
            facts: None,
            own_dead_letters: None,
        };
        if let Some(exchange) = &exchange {
            survey.dead_letters = Some(exchange_place(&connection, exchange).await?);
        }
        if let (Some(address), Source::Urls(Ok(hosts))) = (management, &source) {
            let api = Api { address, uri: hosts.current() };
            survey.facts = Some(QueueFacts::ask(&api, queue.as_str()).await);
            survey.bindings(&api, &connection, &queue, exchange.as_ref()).await?;
        }
        source.close(&connection).await;
        Ok(survey)
    }

    /// The bindings of both dead-letter exchanges.
    async fn bindings(
        &mut self,
        api: &Api<'_>,
        connection: &Connection,
        queue: &ShortString,
        exchange: Option<&ShortString>,
    ) -> Result<()> {
        if let (Some(exchange), Some(AmqpPlace::There { bindings })) = (exchange, &mut self.dead_letters)
            && !exchange.as_str().is_empty()
        {
            *bindings = api.bindings(exchange.as_str()).await.ok().flatten();
            self.circle = api.leads_to(exchange, None, queue.as_str()).await.ok();
        }
        let Some(Ok(facts)) = &self.facts else { return Ok(()) };
        let Some(own) = facts.argument("dead-letter-exchange") else { return Ok(()) };
        let place = match own.is_empty() {
            true => {
                let key = facts.argument("dead-letter-routing-key");
                // Without one, the message's own key is the name of a queue.
                match key {
                    Some(key) => queue_place(connection, &short(&key)?).await?,
                    None => AmqpPlace::There { bindings: None },
                }
            }
            false => match exchange_place(connection, &short(&own)?).await? {
                AmqpPlace::There { .. } => {
                    AmqpPlace::There { bindings: api.bindings(&own).await.ok().flatten() }
                }
                other => other,
            },
        };
        self.own_dead_letters = Some((own, place));
        Ok(())
    }

    /// Up to `count` messages from the head of a queue. They are taken without an acknowledgement and given back: then they
    /// carry the mark `redelivered`, and consumers do not get them meanwhile. A quorum queue counts this as a delivery, so
    /// do not take a sample of one with a delivery limit.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable): the queue cannot be read, for want of a right for instance.
    pub async fn sample(url: &str, queue: &str, count: usize) -> Result<Vec<AmqpMessage>> {
        let source = Source::urls([url]);
        let connection = connect(&source, queue).await?;
        let queue = short(queue)?;
        let sampled = take(&connection, &queue, count).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "a sample cannot be read").with_source(error)
        });
        // The end of the connection gives back all that is not acknowledged.
        source.close(&connection).await;
        sampled
    }
}

async fn connect(source: &Source, queue: &str) -> Result<std::sync::Arc<Connection>> {
    let connected = source.connect(&format!("ackonce survey of {queue}"), "survey").await;
    connected.map_err(|trouble| trouble.error(&format!("RabbitMQ cannot be used at {source:?}")))
}

fn short(name: &str) -> Result<ShortString> {
    ShortString::try_new(name)
        .map_err(|e| Error::new(ErrorKind::Config, "the name of a queue or an exchange").with_source(e))
}

async fn take(connection: &Connection, queue: &ShortString, count: usize) -> lapin::Result<Vec<AmqpMessage>> {
    let channel = connection.create_channel().await?;
    let mut taken = Vec::new();
    let mut last = None;
    while taken.len() < count {
        let got = channel.basic_get(queue.clone(), BasicGetOptions { no_ack: false }).await?;
        let Some(mut got) = got else { break };
        last = Some(got.delivery.delivery_tag);
        taken.push(AmqpMessage::take(&mut got.delivery));
    }
    if let Some(tag) = last {
        channel.basic_nack(tag, BasicNackOptions { multiple: true, requeue: true }).await?;
    }
    channel.close(200, "OK".into()).await?;
    Ok(taken)
}

async fn queue_place(connection: &Connection, queue: &ShortString) -> Result<AmqpPlace> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    ask(connection, async |channel| {
        channel.queue_declare(queue.clone(), passive, FieldTable::default()).await.map(drop)
    })
    .await
}

async fn exchange_place(connection: &Connection, exchange: &ShortString) -> Result<AmqpPlace> {
    // The kind is not looked at.
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    ask(connection, async |channel| {
        let table = FieldTable::default();
        channel.exchange_declare(exchange.clone(), ExchangeKind::Direct, passive, table).await
    })
    .await
}

/// On a channel of its own: a no closes it.
async fn ask(
    connection: &Connection,
    question: impl AsyncFnOnce(Channel) -> lapin::Result<()>,
) -> Result<AmqpPlace> {
    let away = |error| Trouble::Amqp(error).error("RabbitMQ does not answer");
    let channel = connection.create_channel().await.map_err(away)?;
    let error = match question(channel.clone()).await {
        Ok(()) => {
            channel.close(200, "OK".into()).await.map_err(away)?;
            return Ok(AmqpPlace::There { bindings: None });
        }
        Err(error) => error,
    };
    let lapin::ErrorKind::ProtocolError(said) = error.kind() else { return Err(away(error)) };
    Ok(match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => AmqpPlace::Missing,
        AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => AmqpPlace::Locked,
        _ => AmqpPlace::Refused(error.to_string()),
    })
}
