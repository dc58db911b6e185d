//! A RabbitMQ of the user's: an exchange, and a queue for each group of workers.

use std::time::Duration;

use ackonce_amqp::lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable, ShortString};
use ackonce_amqp::lapin::uri::AMQPUri;
use ackonce_amqp::lapin::{
    self, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use anyhow::{Context as _, Result, anyhow, bail};
use tokio::runtime::Handle;

use super::super::plan::Plan;
use super::Position;

/// Messages that may be on their way to be confirmed.
const IN_FLIGHT: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to it.
pub(crate) struct RabbitMq {
    url: String,
    place: String,
    runtime: Handle,
    channel: Channel,
    /// Ends with the demo.
    _connection: Connection,
}

impl RabbitMq {
    pub(super) fn connect(url: &str, runtime: &Handle) -> Result<Self> {
        let uri: AMQPUri = url.parse().map_err(|why: String| anyhow!("--url: {why}"))?;
        let place = format!("{}:{}", uri.authority.host, uri.authority.port);
        let opening = async {
            let connection = Connection::connect_uri(uri, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            lapin::Result::Ok((connection, channel))
        };
        let opened = runtime.block_on(async { tokio::time::timeout(TIMEOUT, opening).await });
        let (_connection, channel) = opened
            .map_err(anyhow::Error::from)
            .and_then(|opened| Ok(opened?))
            .with_context(|| format!("no RabbitMQ can be used at {place}; change --url"))?;
        Ok(Self { url: url.to_owned(), place, runtime: runtime.clone(), channel, _connection })
    }

    /// Never the password.
    pub(super) fn describe(&self) -> String {
        format!("RabbitMQ at {}", self.place)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn create(&self, exchange: &str, queues: &[&str]) -> Result<()> {
        let channel = &self.channel;
        let creating = async {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let table = FieldTable::default;
            channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, table()).await?;
            for queue in queues.iter().copied() {
                // Classic: it does not count how often a killed worker's messages come back.
                let mut classic = table();
                classic.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(queue.into(), options, classic).await?;
                let options = QueueBindOptions::default();
                channel.queue_bind(queue.into(), exchange.into(), "".into(), options, table()).await?;
            }
            lapin::Result::Ok(())
        };
        let created = self.runtime.block_on(creating);
        created
            .with_context(|| format!("RabbitMQ does not let us make the exchange {exchange} and its queues"))
    }

    pub(super) fn publish(&self, exchange: &str, plan: &Plan, each: impl Fn(u64)) -> Result<()> {
        let publishing = async {
            let mut published = 0;
            for some in plan.deliveries.chunks(IN_FLIGHT) {
                let mut confirms = Vec::new();
                for planned in some.iter().map(|&index| &plan.messages[index]) {
                    let mut headers = FieldTable::default();
                    headers.insert("type".into(), AMQPValue::LongString(planned.sample.kind.into()));
                    let properties = BasicProperties::default()
                        .with_message_id(ShortString::try_new(planned.id.as_str())?)
                        .with_headers(headers)
                        .with_delivery_mode(2);
                    let payload = planned.sample.payload(&planned.id);
                    let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
                    let publish = self.channel.basic_publish(
                        exchange.into(),
                        "".into(),
                        mandatory,
                        payload.as_bytes(),
                        properties,
                    );
                    confirms.push(publish.await?);
                }
                for confirm in confirms {
                    match confirm.await? {
                        Confirmation::Ack(None) => published += 1,
                        other => bail!("RabbitMQ did not take a message: {other:?}"),
                    }
                    each(published);
                }
            }
            Ok(())
        };
        self.runtime.block_on(publishing).context("publishing")
    }

    /// Fails if a queue has not got all.
    pub(super) fn check_kept(&self, queues: &[&str], published: usize) -> Result<()> {
        for queue in queues {
            let kept = self.follow(queue, published)?.ready()?;
            if usize::try_from(kept).ok() != Some(published) {
                bail!("the queue {queue} has {kept} of {published} messages");
            }
        }
        Ok(())
    }

    pub(super) fn follow(&self, queue: &str, all: usize) -> Result<Queue> {
        let (runtime, channel) = (self.runtime.clone(), self.channel.clone());
        Ok(Queue { runtime, channel, name: ShortString::try_new(queue)?, all: all as u64 })
    }

    pub(super) fn clean_up(&self, exchange: &str, queues: &[&str]) -> Result<()> {
        let deleting = async {
            for queue in queues.iter().copied() {
                self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
            }
            self.channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await
        };
        let deleted = self.runtime.block_on(deleting);
        deleted
            .with_context(|| format!("{exchange} and its queues could not be deleted; delete them by hand"))
    }
}

/// A group's queue.
pub(crate) struct Queue {
    runtime: Handle,
    channel: Channel,
    name: ShortString,
    all: u64,
}

impl Queue {
    /// The messages that wait in it, without those that are delivered and not acknowledged.
    fn ready(&self) -> Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = self.channel.queue_declare(self.name.clone(), passive, FieldTable::default());
        Ok(self.runtime.block_on(asking)?.message_count())
    }

    pub(super) fn position(&self) -> Position {
        match self.ready() {
            Ok(ready) => Position {
                done: self.all.saturating_sub(ready.into()),
                at_end: ready == 0,
                text: format!("{ready} messages waiting"),
            },
            Err(error) => {
                Position { done: 0, at_end: false, text: format!("no word of its queue ({error})") }
            }
        }
    }
}
