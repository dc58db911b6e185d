//! The order of messages that are handled side by side.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::adapter::Identify;

/// The messages that keep their order. All others run side by side, on up to
/// [`Settings::concurrency`](crate::Settings::concurrency) handlers.
///
/// The order is that of delivery: a message that the broker takes back, or that moves to a retry topic, keeps no place, and
/// several consumers of one RabbitMQ queue share it out among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// No order. The default of a RabbitMQ consumer.
    Unordered,
    /// Messages of one source, a Kafka partition or a RabbitMQ queue, run one after another. The default of a Kafka
    /// consumer.
    Source,
    /// Messages of one source with one key, Kafka's record key or RabbitMQ's routing key, run one after another; messages
    /// without a key wait for nobody.
    Key,
    /// Messages of one source with one value of this header run one after another; those without it wait for nobody.
    Header(String),
}

impl Order {
    /// The lane of a message of `source`, for [`Ordered::lane`](crate::adapter::Ordered): messages of one lane run one
    /// after another. `None` for a message that waits for nobody.
    #[must_use]
    pub fn lane(&self, source: impl Hash, message: &impl Identify) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        match self {
            Self::Unordered => return None,
            Self::Source => {}
            Self::Key => message.key()?.hash(&mut hasher),
            Self::Header(name) => message.header(name)?.hash(&mut hasher),
        }
        Some(hasher.finish())
    }
}
