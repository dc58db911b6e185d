//! The headers added to a message that is published again. Those of the original are kept, but for the few that would
//! change where the copy goes.

pub use ackonce::adapter::headers::{
    ATTEMPTS, BURIAL, ERROR, MESSAGE_ID, PAYLOAD_SHA256, PREFIX, REDRIVE_ACTOR, REDRIVE_REASON, REDUCED,
    SCOPE,
};

/// Exchange of the original.
pub const EXCHANGE: &str = "ackonce-exchange";
/// Routing key of the original.
pub const ROUTING_KEY: &str = "ackonce-routing-key";
/// The queue it was consumed from.
pub const QUEUE: &str = "ackonce-queue";
/// The original's property `user_id`: the broker refuses a copy that carries somebody else's.
pub const USER_ID: &str = "ackonce-user-id";
/// The original's property `expiration`: a dead letter must not expire, and a delay has its own.
pub const EXPIRATION: &str = "ackonce-expiration";
/// The original's header `CC`: on a copy, it would send that to more queues.
pub const CC: &str = "ackonce-cc";
/// The original's header `BCC`, for the same reason.
pub const BCC: &str = "ackonce-bcc";
/// The original's property `reply_to` where it is `amq.rabbitmq.reply-to`: the broker takes that from a caller alone.
pub const REPLY_TO: &str = "ackonce-reply-to";
/// The original's header `x-death`, on a message that waits in a delay queue: with it the broker could take
/// its way back for a circle and drop it.
pub const X_DEATH: &str = "ackonce-x-death";
/// Exchange of a message that came by a delay queue.
pub const DELAYED_EXCHANGE: &str = "ackonce-delayed-exchange";
/// Routing key of a message that came by a delay queue.
pub const DELAYED_ROUTING_KEY: &str = "ackonce-delayed-routing-key";
/// The number of delay queues a message has come by, this one included; it chooses the next wait.
pub const DELAYS: &str = "ackonce-delays";
/// A number that tells copies under way from each other: the broker returns one that leads nowhere with it.
pub const LETTER: &str = "ackonce-letter";
/// Length of the original's body in bytes, on a dead letter without it.
pub const PAYLOAD_LENGTH: &str = "ackonce-payload-length";
