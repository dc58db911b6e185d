//! Message IDs as arguments, and texts of others for a terminal.

use std::str::FromStr;

pub(super) use ackonce_console::names::shown;
use bytes::Bytes;

/// A message ID of the command line or of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageId(pub(super) Bytes);

impl FromStr for MessageId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match ackonce_console::names::parse(text) {
            Ok(id) if id.is_empty() => Err("the message ID is empty".to_owned()),
            Ok(id) => Ok(Self(id)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Text of others for a terminal: control characters would move its cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_without_bytes_is_refused() {
        for text in ["", "hex:", "base64:", "hex:0", "base64:*"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_id_reads_back(id in prop::collection::vec(any::<u8>(), 1..40)) {
            prop_assert_eq!(shown(&id).parse::<MessageId>().unwrap().0, id);
        }

        #[test]
        fn every_text_reads_back(id in "(hex:|base64:)?\\PC{1,20}") {
            prop_assert_eq!(shown(id.as_bytes()).parse::<MessageId>().unwrap().0, id.as_bytes());
        }
    }
}
