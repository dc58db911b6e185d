//! The places that messages are published to.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "kafka")]
mod kafka;

use std::fmt;
use std::sync::Arc;

use ackonce::Failure;
use async_trait::async_trait;

use crate::OutboxMessage;

/// A place that the relay publishes to.
///
/// `KafkaPublisher` and `AmqpPublisher` are publishers with the features `kafka` and `amqp`. One of your own:
///
/// ```
/// use ackonce::Failure;
/// use ackonce_outbox::{OutboxMessage, OutboxPublisher};
///
/// #[derive(Debug)]
/// struct Printer;
///
/// #[async_trait::async_trait]
/// impl OutboxPublisher for Printer {
///     async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
///         println!("{} to {}", message.id, message.to);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait OutboxPublisher: fmt::Debug + Send + Sync {
    /// Publishes a message; `Ok` once the place has confirmed it. The relay publishes messages of one key and destination
    /// one after another, all others side by side, and a message again with the same ID until it is confirmed.
    ///
    /// # Errors
    /// [`Failure::Permanent`]: the place will never take it, so it is parked at once.
    /// [`Failure::Infrastructure`]: the place is away for all; no attempt counts. Any other: an attempt of this message.
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure>;
}

#[async_trait]
impl<T: OutboxPublisher + ?Sized> OutboxPublisher for Arc<T> {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        (**self).publish(message).await
    }
}
