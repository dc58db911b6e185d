//! What the RabbitMQ examples need to be there, made where it is missing.

use ackonce_amqp::lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use ackonce_amqp::lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable, ShortString};
use ackonce_amqp::lapin::{self, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use anyhow::{Context as _, Result};

/// A broker on this machine, as it comes.
pub const URL: &str = "amqp://guest:guest@localhost:5672/%2f";

/// A connection, or which flag to look at.
///
/// # Errors
/// The broker does not answer, or refuses.
pub async fn connect(url: &str) -> Result<Connection> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    connecting.await.context("no RabbitMQ can be used there (--url)")
}

/// A name, as AMQP takes it.
///
/// # Errors
/// It is too long.
pub fn name(text: &str) -> Result<ShortString> {
    ShortString::try_new(text).with_context(|| format!("a name of AMQP has at most 255 bytes: {text}"))
}

/// Declares the queue, and the dead-letter exchange with a queue of its name, but nothing that is there, of whatever
/// type: its arguments are somebody else's choice.
///
/// # Errors
/// The broker does not answer, or refuses.
pub async fn declare_missing(url: &str, queue: &str, dead_letter: Option<&str>) -> Result<()> {
    let queue = name(queue)?;
    let connection = connect(url).await?;
    if !is_there(&connection, async |channel| look_for_queue(&channel, &queue).await).await? {
        declare_queue(&connection, &queue).await?;
    }
    if let Some(exchange) = dead_letter.map(name).transpose()?
        && !is_there(&connection, async |channel| look_for_exchange(&channel, &exchange).await).await?
    {
        let channel = connection.create_channel().await?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let table = FieldTable::default();
        channel.exchange_declare(exchange.clone(), ExchangeKind::Fanout, options, table.clone()).await?;
        declare_queue(&connection, &exchange).await?;
        let options = QueueBindOptions::default();
        channel.queue_bind(exchange.clone(), exchange, "".into(), options, table).await?;
    }
    // A channel that was refused may still be closing, which makes this an error.
    let _ = connection.close(200, "OK".into()).await;
    Ok(())
}

async fn declare_queue(connection: &Connection, name: &ShortString) -> Result<()> {
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    channel.queue_declare(name.clone(), options, quorum).await?;
    Ok(channel.close(200, "OK".into()).await?)
}

async fn look_for_queue(channel: &lapin::Channel, name: &ShortString) -> lapin::Result<()> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.clone(), passive, FieldTable::default()).await.map(drop)
}

async fn look_for_exchange(channel: &lapin::Channel, name: &ShortString) -> lapin::Result<()> {
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    // The kind is not looked at.
    channel.exchange_declare(name.clone(), ExchangeKind::Fanout, passive, FieldTable::default()).await
}

/// On a channel of its own: a no closes it.
async fn is_there(
    connection: &Connection,
    look: impl AsyncFnOnce(lapin::Channel) -> lapin::Result<()>,
) -> Result<bool> {
    let channel = connection.create_channel().await?;
    match look(channel.clone()).await {
        Ok(()) => channel.close(200, "OK".into()).await.map(|()| true).map_err(Into::into),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(e) if *e.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
