#![doc = include_str!("../README.md")]

mod amqp_url;
mod deliver;
mod health;
mod kafka_url;
mod kind;
mod letters;
mod message;
mod outbox_sink;
mod plan;
mod presence;
mod queues;
mod relay;
mod sink;
mod source;
mod url;

pub use health::RelayHealth;
pub use kind::SourceKind;
pub use letters::{LETTERS, LettersUrl};
pub use message::RelayMessage;
pub use outbox_sink::{OUTBOX_SINKS, OutboxSinkUrl};
pub use plan::IdPlace;
pub use relay::{Relay, RelayOptions};
pub use sink::{Gone, SINKS, Sink, SinkUrl};
pub use source::{SOURCES, SourceParts, SourceUrl, WebhookSecret, WebhookSurvey};
pub use url::{RelayUrlError, redacted};
