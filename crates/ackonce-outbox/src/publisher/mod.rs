//! The places that messages are published to.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "kafka")]
mod kafka;

use std::fmt;
use std::sync::Arc;

use ackonce::Failure;
use async_trait::async_trait;

#[cfg(feature = "http")]
pub use self::http::HttpPublisher;

use crate::OutboxMessage;

/// A place that the relay publishes to.
///
/// `KafkaPublisher`, `AmqpPublisher` and `HttpPublisher` are publishers with the features `kafka`, `amqp` and `http`. One of your own:
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
    /// [`Failure::Infrastructure`]: the place is away; no attempt counts. Any other: an attempt of this message. A pause that
    /// the place asked for ([`Failure::not_before`]) is kept.
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure>;

    /// True (the default) if all messages go to one place. A place that is away is then asked by one message at a time;
    /// else each lane waits for itself, with the back-off of [`OutboxOptions`](crate::OutboxOptions).
    fn is_one_place(&self) -> bool {
        true
    }

    /// The most messages that it takes at once; by default as many as the relay has in memory.
    fn at_once(&self) -> usize {
        usize::MAX
    }
}

#[async_trait]
impl<T: OutboxPublisher + ?Sized> OutboxPublisher for Arc<T> {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        (**self).publish(message).await
    }

    fn is_one_place(&self) -> bool {
        (**self).is_one_place()
    }

    fn at_once(&self) -> usize {
        (**self).at_once()
    }
}
