//! The headers that all adapters add to a message that they publish again: a dead letter, or a copy that waits in a retry
//! topic or a delay queue. Each adapter has some more, for the message's origin at its broker.

/// The prefix of all of these. A copy has none of an earlier round's but those that its adapter keeps.
pub const PREFIX: &str = "ackonce-";
/// The reason of the burial or of the wait; cut at 4,096 bytes.
pub const ERROR: &str = "ackonce-error";
/// The number of attempts that were counted.
pub const ATTEMPTS: &str = "ackonce-attempts";
/// The scope in which the message was claimed.
pub const SCOPE: &str = "ackonce-scope";
/// The message ID, as bytes.
pub const MESSAGE_ID: &str = "ackonce-message-id";
/// On a letter with its whole content: the claim that has buried the message ([`BurialProof`](super::BurialProof)). Published
/// again with it, the letter redrives its record and runs.
pub const BURIAL: &str = "ackonce-burial";
/// On a letter that an operator has published again: the person or job, for the audit line of its redrive.
pub const REDRIVE_ACTOR: &str = "ackonce-redrive-actor";
/// On such a letter: the operator's reason.
pub const REDRIVE_REASON: &str = "ackonce-redrive-reason";
/// On a letter without its whole content: the parts that are missing, because its place does not take them.
pub const REDUCED: &str = "ackonce-reduced";
/// On a letter without its payload: the SHA-256 of the payload, in hexadecimal digits.
pub const PAYLOAD_SHA256: &str = "ackonce-payload-sha256";
