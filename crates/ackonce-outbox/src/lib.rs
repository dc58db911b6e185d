#![doc = include_str!("../README.md")]

mod counts;
mod health;
mod lag;
mod message;
mod metrics;
mod options;
mod outbox;
mod outgoing;
mod publisher;
mod relay;
mod table;
mod waking;

pub use counts::OutboxCounts;
pub use health::OutboxHealth;
pub use lag::OutboxLag;
pub use message::OutboxMessage;
pub use metrics::METRICS;
pub use options::{OnParked, OutboxOptions};
pub use outbox::Outbox;
pub use outgoing::{MAX_DESTINATION_LEN, MAX_OUTBOX_ID_LEN, Outgoing, OutgoingRow};
#[cfg(feature = "http")]
pub use publisher::HttpPublisher;
pub use publisher::OutboxPublisher;
pub use table::Parked;
#[cfg(feature = "postgres")]
pub use table::postgres::PostgresOutbox;
#[cfg(feature = "sqlite")]
pub use table::sqlite::{PublishInto, SqliteOutbox};
pub use waking::Waking;
