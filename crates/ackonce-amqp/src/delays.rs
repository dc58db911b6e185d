//! Waits that are too long to keep a message in hand: queues that hold it and send it back.

use std::time::Duration;

use ackonce::BoxError;
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::message::text;

/// The longest wait: RabbitMQ's timers take no more milliseconds than 32 bits.
const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// The waits of failed messages before their next attempts, in queues of the broker.
///
/// A queue for each length, `<queue>.delay.<milliseconds>`: its messages expire in the order they came, which
/// they would not with lengths of their own. An expired message goes back to the end of the queue it was consumed
/// from.
#[derive(Debug, Clone)]
pub struct Delays {
    pub(crate) waits: Vec<Duration>,
    pub(crate) create: bool,
}

impl Delays {
    /// The first wait of a message, the second, and so on; the last one for all that follow. Each time that a message
    /// is delayed counts, whether its attempt does or not.
    /// The queues must be there: durable, with `x-message-ttl` the milliseconds, `x-dead-letter-exchange` empty
    /// and `x-dead-letter-routing-key` the queue consumed from.
    pub fn new(waits: impl IntoIterator<Item = Duration>) -> Self {
        Self { waits: waits.into_iter().collect(), create: false }
    }

    /// Declares the queues: quorum queues that dead-letter at least once, so that a wait loses nothing
    /// (RabbitMQ 3.10). One that exists already must have the same arguments, or the consumer does not start. One
    /// that is deleted later is declared again.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.create = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let allowed = Duration::from_millis(1)..=LONGEST;
        match self.waits.iter().all(|wait| allowed.contains(wait)) && !self.waits.is_empty() {
            true => Ok(()),
            false => Err("AmqpConsumer::with_delays: Delays needs waits of 1 ms to 49 days"),
        }
    }

    /// Creates the queues, or looks whether they are there.
    pub(crate) async fn declare(&self, channel: &Channel, queue: &ShortString) -> lapin::Result<()> {
        for wait in &self.waits {
            self.declare_one(channel, queue, *wait).await?;
        }
        Ok(())
    }

    pub(crate) async fn declare_one(
        &self,
        channel: &Channel,
        queue: &ShortString,
        wait: Duration,
    ) -> lapin::Result<()> {
        let options = match self.create {
            true => QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() },
            false => QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() },
        };
        let Ok(name) = name(queue, wait) else { return Ok(()) };
        channel.queue_declare(name, options, arguments(queue, wait)).await.map(drop)
    }
}

fn arguments(queue: &ShortString, wait: Duration) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", queue.as_str()),
        ("x-dead-letter-strategy", "at-least-once"),
        // Required by "at least once".
        ("x-overflow", "reject-publish"),
    ] {
        table.insert(name.into(), text(value));
    }
    table.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis(wait)));
    table
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn name(queue: &ShortString, wait: Duration) -> Result<ShortString, BoxError> {
    Ok(ShortString::try_new(format!("{queue}.delay.{}", wait.as_millis()))?)
}
