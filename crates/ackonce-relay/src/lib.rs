#![doc = include_str!("../README.md")]

mod amqp_url;
mod deliver;
mod health;
mod kafka_url;
mod message;
mod plan;
mod relay;
mod sink;
mod source;
mod text;
mod url;

pub use health::Health;
pub use message::Message;
pub use plan::IdPlace;
pub use relay::{Options, Relay};
pub use sink::{Gone, SINKS, Sink, SinkUrl};
pub use source::{SOURCES, SourceKind, SourceUrl};
pub use url::{UrlError, redacted};
