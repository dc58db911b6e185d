//! The headers of dead letters and of messages in retry topics. Those of the original are kept before them; headers of
//! these names from an earlier round are replaced.

pub use ackonce::adapter::headers::{
    ATTEMPTS, BURIAL, ERROR, MESSAGE_ID, PAYLOAD_SHA256, PREFIX, REDRIVE_ACTOR, REDRIVE_REASON, REDUCED,
    SCOPE,
};

/// Topic of the original.
pub const TOPIC: &str = "ackonce-topic";
/// Partition of the original.
pub const PARTITION: &str = "ackonce-partition";
/// Offset of the original.
pub const OFFSET: &str = "ackonce-offset";
/// In a retry topic: the moment from which it is delivered, in milliseconds since the Unix epoch.
pub const DUE: &str = "ackonce-due";
/// In a retry topic: the original's timestamp, in milliseconds since the Unix epoch.
pub const TIMESTAMP: &str = "ackonce-timestamp";
/// In a retry topic: the retry topics that it has been in, this one included.
pub const HOP: &str = "ackonce-hop";
