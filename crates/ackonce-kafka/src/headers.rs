//! The headers of dead letters and of messages in retry topics. Those of the original are kept before them; headers of
//! these names from an earlier round are replaced.

/// Topic of the original.
pub const TOPIC: &str = "ackonce-topic";
/// Partition of the original.
pub const PARTITION: &str = "ackonce-partition";
/// Offset of the original.
pub const OFFSET: &str = "ackonce-offset";
/// The reason of the burial, or of the retry; cut at 4,096 bytes.
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
/// In a retry topic: the moment from which it is delivered, in milliseconds since the Unix epoch.
pub const DUE: &str = "ackonce-due";
/// In a retry topic: the retry topics that it has been in, this one included.
pub const HOP: &str = "ackonce-hop";
/// On a letter without its whole content: the parts that are missing.
pub const REDUCED: &str = "ackonce-reduced";
/// On a letter without a payload: the SHA-256 of the payload, in hexadecimal digits.
pub const PAYLOAD_SHA256: &str = "ackonce-payload-sha256";
