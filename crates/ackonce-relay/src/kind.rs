//! The kinds of sources.

/// The kind of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Kafka topics.
    Kafka,
    /// A RabbitMQ queue.
    Amqp,
    /// Webhooks of one provider.
    Webhook,
}
