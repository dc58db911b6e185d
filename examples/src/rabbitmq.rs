//! The exchanges and queues of the RabbitMQ examples, declared where they are missing.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use ackonce::{CancellationToken, Deduplicator, Error, OnStart, Scope};
use ackonce_amqp::AmqpConsumer;
use ackonce_amqp::lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use ackonce_amqp::lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable, ShortString};
use ackonce_amqp::lapin::uri::AMQPUri;
use ackonce_amqp::lapin::{self, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use ackonce_cli::stores::connect_at_start;
use anyhow::{Context as _, Result};

use crate::{Stopped, Usage};

/// A broker on this machine, as it comes.
pub const URL: &str = "amqp://guest:guest@localhost:5672/%2f";

/// The time limit for connecting and declaring together.
const ASK: Duration = Duration::from_secs(30);
/// In seconds, unless the URL says otherwise; as [`AmqpConsumer`]'s own.
const HEARTBEAT: u16 = 20;

/// The servers of `--url`, of one cluster: the first that answers is used.
#[derive(Clone)]
pub struct Servers {
    urls: Vec<String>,
    uris: Vec<AMQPUri>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Servers {
    /// Without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, AMQPUri { authority, vhost, .. }) in self.uris.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}/{}", authority.host, authority.port, vhost.replace('/', "%2f"))?;
        }
        Ok(())
    }
}

impl Servers {
    /// # Errors
    /// [`Usage`]: one of the URLs cannot be read. They are not repeated, for they have passwords.
    pub fn new(urls: Vec<String>) -> Result<Self, Usage> {
        let uri = |(n, url): (usize, &String)| {
            let mut uri: AMQPUri =
                url.parse().map_err(|why| Usage(format!("--url, number {}: {why}", n + 1)))?;
            uri.query.heartbeat.get_or_insert(HEARTBEAT);
            Ok(uri)
        };
        let uris = urls.iter().enumerate().map(uri).collect::<Result<_, Usage>>()?;
        Ok(Self { urls, uris })
    }

    /// A connection to the first of them that answers, or why the last of them did not.
    ///
    /// # Errors
    /// No broker answers, or one refuses.
    pub async fn connect(&self) -> lapin::Result<Connection> {
        // Together less than the consumer's own patience, so that one that never answers does not hide the others.
        let patience = ASK * 2 / 3 / u32::try_from(self.uris.len()).unwrap_or(u32::MAX).max(1);
        let mut answer = Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no --url").into());
        for uri in &self.uris {
            let connecting = Connection::connect_uri(uri.clone(), ConnectionProperties::default());
            let connected = tokio::time::timeout(patience, connecting).await;
            answer = connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// A consumer of a queue of theirs.
    #[must_use]
    pub fn consumer(&self, queue: &str, scope: &Scope, store: Arc<dyn Deduplicator>) -> AmqpConsumer {
        AmqpConsumer::new_any(self.urls.iter().map(String::as_str), queue, scope, store)
    }

    /// Declares the queue, and the dead-letter exchange with a queue of its name, but nothing that exists, of
    /// any type: its arguments are somebody else's choice. Waits for a broker that is away as `policy` says.
    ///
    /// # Errors
    /// [`Stopped`] if `shutdown` ended the wait; otherwise the broker's refusal.
    pub async fn declare_missing(
        &self,
        policy: OnStart,
        shutdown: &CancellationToken,
        queue: &str,
        dead_letter: Option<&str>,
    ) -> Result<()> {
        let (queue, dead_letter) = (name(queue)?, dead_letter.map(name).transpose()?);
        let declare = || async {
            let declaring = tokio::time::timeout(ASK, self.try_declare(&queue, dead_letter.as_ref()));
            declaring
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
                .map_err(refusal)
        };
        match connect_at_start(policy, shutdown, &format!("RabbitMQ at {self}"), declare).await {
            Err(_) if shutdown.is_cancelled() => Err(Stopped("RabbitMQ").into()),
            answer => answer.with_context(|| format!("RabbitMQ at {self} (--url), queue {queue}")),
        }
    }

    async fn try_declare(&self, queue: &ShortString, dead_letter: Option<&ShortString>) -> lapin::Result<()> {
        let connection = self.connect().await?;
        if !is_there(&connection, async |channel| look_for_queue(&channel, queue).await).await? {
            declare_queue(&connection, queue).await?;
        }
        if let Some(exchange) = dead_letter
            && !is_there(&connection, async |channel| look_for_exchange(&channel, exchange).await).await?
        {
            let channel = connection.create_channel().await?;
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let table = FieldTable::default();
            channel.exchange_declare(exchange.clone(), ExchangeKind::Fanout, options, table.clone()).await?;
            declare_queue(&connection, exchange).await?;
            let options = QueueBindOptions::default();
            channel.queue_bind(exchange.clone(), exchange.clone(), "".into(), options, table).await?;
        }
        // A channel that was refused may still be closing, which makes this an error.
        let _ = connection.close(200, "OK".into()).await;
        Ok(())
    }
}

/// True if waiting helps: a broker that answered with a refusal will answer the same until somebody changes something.
fn refusal(error: lapin::Error) -> Error {
    let refused = matches!(error.kind(), ErrorKind::ProtocolError(_) | ErrorKind::AuthProviderError(_));
    let (kind, text) = match refused && !is_broker_ending(&error) {
        true => (ackonce::ErrorKind::Config, "the broker refuses"),
        false => (ackonce::ErrorKind::Unavailable, "the broker cannot be reached"),
    };
    Error::new(kind, text).with_source(error)
}

/// A broker that is shut down closes its connections with this reason.
fn is_broker_ending(error: &lapin::Error) -> bool {
    use AMQPErrorKind::Hard;
    matches!(error.kind(), ErrorKind::ProtocolError(e)
        if matches!(e.kind(), Hard(AMQPHardError::CONNECTIONFORCED | AMQPHardError::INTERNALERROR)))
}

/// A name, as AMQP takes it.
///
/// # Errors
/// [`Usage`]: it is too long.
pub fn name(text: &str) -> Result<ShortString, Usage> {
    ShortString::try_new(text).map_err(|_| Usage(format!("a name of AMQP has at most 255 bytes: {text}")))
}

async fn declare_queue(connection: &Connection, name: &ShortString) -> lapin::Result<()> {
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    channel.queue_declare(name.clone(), options, quorum).await?;
    channel.close(200, "OK".into()).await
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
) -> lapin::Result<bool> {
    let channel = connection.create_channel().await?;
    match look(channel.clone()).await {
        Ok(()) => channel.close(200, "OK".into()).await.map(|()| true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(e) if *e.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
