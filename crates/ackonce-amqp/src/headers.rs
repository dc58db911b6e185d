//! The headers added to a message that is published again. Those of the original are kept, but for the few that would
//! change where the copy goes.

/// Exchange of the original.
pub const EXCHANGE: &str = "ackonce-exchange";
/// Routing key of the original.
pub const ROUTING_KEY: &str = "ackonce-routing-key";
/// The queue it was consumed from.
pub const QUEUE: &str = "ackonce-queue";
/// Why it was buried, or why it has to wait.
pub const ERROR: &str = "ackonce-error";
/// Attempts counted.
pub const ATTEMPTS: &str = "ackonce-attempts";
/// The scope it was claimed in.
pub const SCOPE: &str = "ackonce-scope";
/// Its message ID, as bytes.
pub const MESSAGE_ID: &str = "ackonce-message-id";
/// On a letter with its whole content: the claim that has buried the message ([`ackonce::adapter::BurialProof`]). Published again with
/// it, the letter redrives its record and runs.
pub const BURIAL: &str = "ackonce-burial";
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
/// The parts that a dead letter lacks because its place does not take the whole message.
pub const REDUCED: &str = "ackonce-reduced";
/// SHA-256 of the original's body, in hexadecimal, on a dead letter without it.
pub const PAYLOAD_SHA256: &str = "ackonce-payload-sha256";
/// Length of the original's body in bytes, on a dead letter without it.
pub const PAYLOAD_LENGTH: &str = "ackonce-payload-length";

/// The prefix of all of these. A copy carries none of the original's but those that a delay queue's copy keeps.
pub(crate) const PREFIX: &str = "ackonce-";
