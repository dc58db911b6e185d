//! Waits that are too long to keep a message in hand: queues that hold it and send it back.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Backoff, BoxError, CancellationToken};
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::mpsc;

use crate::dead_letters::{origin, text};
use crate::delivery::AmqpDelivery;
use crate::republish::{Publisher, Purpose, copied, reason};
use crate::{Tally, headers};

/// The longest wait: RabbitMQ's timers take no more milliseconds than 32 bits.
const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// How long a failed message waits for its next attempt, in queues of the broker.
///
/// A queue for each length, `<queue>.delay.<milliseconds>`: its messages expire in the order they came, which
/// they would not with lengths of their own. What expires goes back to the end of the queue it was consumed
/// from.
#[derive(Debug, Clone)]
pub struct Delays {
    pub(crate) waits: Vec<Duration>,
    pub(crate) create: bool,
}

impl Delays {
    /// The wait after the first failed attempt, after the second, and so on; the last one for all that follow.
    /// The queues must be there: durable, with `x-message-ttl` the milliseconds, `x-dead-letter-exchange` empty
    /// and `x-dead-letter-routing-key` the queue consumed from.
    pub fn new(waits: impl IntoIterator<Item = Duration>) -> Self {
        Self { waits: waits.into_iter().collect(), create: false }
    }

    /// Declares the queues: quorum queues that dead-letter at least once, so that a wait loses nothing
    /// (RabbitMQ 3.10). One that exists already must have the same arguments, or the consumer does not start.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.create = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let allowed = Duration::from_millis(1)..=LONGEST;
        match self.waits.iter().all(|wait| allowed.contains(wait)) && !self.waits.is_empty() {
            true => Ok(()),
            false => Err("Delays needs waits of 1 ms to 49 days"),
        }
    }

    fn after(&self, attempt: u32) -> Option<Duration> {
        let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.waits.get(at).or(self.waits.last()).copied()
    }

    /// Creates the queues, or looks whether they are there.
    pub(crate) async fn declare(&self, channel: &Channel, queue: &ShortString) -> lapin::Result<()> {
        for wait in &self.waits {
            let options = match self.create {
                true => QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() },
                false => QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() },
            };
            let Ok(name) = name(queue, *wait) else { continue };
            channel.queue_declare(name, options, arguments(queue, *wait)).await?;
        }
        Ok(())
    }
}

fn arguments(queue: &ShortString, wait: Duration) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", queue.as_str()),
        ("x-dead-letter-strategy", "at-least-once"),
        // What "at least once" asks for.
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

/// A failed delivery on its way to a delay queue.
pub(crate) struct Failed {
    pub(crate) delivery: AmqpDelivery,
    pub(crate) reason: String,
    pub(crate) attempt: u32,
}

/// Sends failed messages to their delay queues.
pub(crate) struct Delayer {
    pub(crate) delays: Delays,
    pub(crate) publisher: Publisher,
    pub(crate) queue: ShortString,
    pub(crate) backoff: Backoff,
    pub(crate) tally: Tally,
}

impl Delayer {
    /// Until `failed` closes. After `stop` nothing is tried again: what is left goes back with its channel.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut failed: mpsc::UnboundedReceiver<Failed>,
        stop: CancellationToken,
    ) {
        while let Some(failed) = failed.recv().await {
            let mut failures = 0;
            while failed.delivery.is_live() {
                match self.send(&failed).await {
                    Ok(()) => {
                        // The copy is in its queue. Should the ack get lost, both come, and are one message.
                        self.tally.delayed(1);
                        failed.delivery.settled();
                        break;
                    }
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(target: "ackonce", %error, failures, "the delay queue does not take a message");
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(self.backoff.after(failures)) => {}
                }
            }
        }
    }

    async fn send(&self, failed: &Failed) -> Result<(), BoxError> {
        let message = &failed.delivery.message;
        let wait = self.delays.after(failed.attempt).ok_or("no delay is set")?;
        let mut extra = origin(message, &self.queue);
        extra.extend([
            (headers::DELAYED_EXCHANGE, text(message.exchange())),
            (headers::DELAYED_ROUTING_KEY, text(message.routing_key())),
            (headers::ERROR, reason(&failed.reason)),
            (headers::ATTEMPTS, AMQPValue::LongLongInt(failed.attempt.into())),
        ]);
        let properties = copied(message, Purpose::Delay, extra);
        let exchange = ShortString::default();
        self.publisher.publish(&exchange, &name(&self.queue, wait)?, message.payload(), properties).await
    }
}
