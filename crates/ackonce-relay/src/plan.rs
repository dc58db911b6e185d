//! The parts of a relay that its source needs, and the words for them on a command line.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{CancellationToken, Deduplicator, IdSource, MessageIds, Order, Scope, Settings};
use ackonce_amqp::MESSAGE_ID_PROPERTY;

use crate::kind::SourceKind;
use crate::url::RelayUrlError;

/// The settings of a consumer.
pub(crate) struct Plan {
    pub(crate) scope: Scope,
    pub(crate) store: Arc<dyn Deduplicator>,
    pub(crate) settings: Settings,
    /// `None` for the adapter's own places.
    pub(crate) ids: Option<MessageIds>,
    pub(crate) order: Option<Order>,
    pub(crate) dead_letter: Option<String>,
    pub(crate) retry_topics: Vec<(String, Duration)>,
    pub(crate) shutdown: CancellationToken,
}

/// A place of message IDs, as written on a command line: `header:NAME`, `property`, `key`, `json:/POINTER`, `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdPlace {
    /// A header.
    Header(String),
    /// The AMQP property `message_id`.
    Property,
    /// The record key or the routing key.
    Key,
    /// A field of the JSON payload, by its pointer (RFC 6901).
    Json(String),
    /// SHA-256 of the payload.
    Payload,
}

impl FromStr for IdPlace {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("json", pointer)) if pointer.starts_with('/') => Ok(Self::Json(pointer.to_owned())),
            Some(("json", _)) => {
                Err(RelayUrlError::new("a JSON pointer begins with a slash, such as json:/id"))
            }
            None if text == "property" => Ok(Self::Property),
            None if text == "key" => Ok(Self::Key),
            None if text == "payload" => Ok(Self::Payload),
            _ => Err(RelayUrlError::new("there are header:NAME, property, key, json:/POINTER and payload")),
        }
    }
}

impl std::fmt::Display for IdPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Property => f.write_str("property"),
            Self::Key => f.write_str("key"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::Payload => f.write_str("payload"),
        }
    }
}

impl IdPlace {
    /// # Errors
    /// A place that messages of this source do not have.
    pub(crate) fn of(&self, kind: SourceKind) -> Result<IdSource, String> {
        match (self, kind) {
            (_, SourceKind::Webhook) => Err("a webhook's provider says where its IDs are; leave it out".to_owned()),
            (Self::Property, SourceKind::Kafka) => {
                Err("`property` is the message_id of AMQP; a Kafka record has header:NAME, key, json:/POINTER and payload".to_owned())
            }
            (Self::Property, SourceKind::Amqp) => Ok(IdSource::Header(MESSAGE_ID_PROPERTY.to_owned())),
            (Self::Header(name), _) => Ok(IdSource::Header(name.clone())),
            (Self::Key, _) => Ok(IdSource::Key),
            (Self::Json(pointer), _) => Ok(IdSource::Json(pointer.clone())),
            (Self::Payload, _) => Ok(IdSource::Payload),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_of_ids_read_as_they_are_written() {
        for text in ["header:ce-id", "header:a:b", "property", "key", "json:/data/id", "payload"] {
            assert_eq!(text.parse::<IdPlace>().unwrap().to_string(), text);
        }
        for wrong in ["", "header", "header:", "json:id", "json:", "Header:x", "payload:x"] {
            assert!(wrong.parse::<IdPlace>().is_err(), "{wrong}");
        }
        assert!(IdPlace::Property.of(SourceKind::Kafka).is_err());
        assert!(IdPlace::Payload.of(SourceKind::Webhook).is_err());
        assert_eq!(IdPlace::Property.of(SourceKind::Amqp), Ok(IdSource::Header(MESSAGE_ID_PROPERTY.into())));
    }
}
