//! Message IDs as arguments and as text. IDs are bytes, so a text form that reads back as the same bytes is needed for all of
//! them.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;

const HEX: &str = "hex:";
const BASE64: &str = "base64:";

/// A message ID of the command line or of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageId(pub(super) Bytes);

impl FromStr for MessageId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = if let Some(digits) = text.strip_prefix(HEX) {
            unhex(digits).ok_or("the text after hex: is no even number of hexadecimal digits")?
        } else if let Some(text) = text.strip_prefix(BASE64) {
            let decoded = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
                .iter()
                .find_map(|engine| engine.decode(text).ok());
            decoded.ok_or("the text after base64: is no base64")?
        } else {
            text.as_bytes().to_vec()
        };
        match bytes.is_empty() {
            true => Err("the message ID is empty".to_owned()),
            false => Ok(Self(bytes.into())),
        }
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))?;
            (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        })
        .collect()
}

/// An ID in the form that [`MessageId`] reads: as it is where it is text, else `hex:…`.
pub(super) fn shown(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text)
            if !text.starts_with(HEX) && !text.starts_with(BASE64) && !text.chars().any(char::is_control) =>
        {
            text.to_owned()
        }
        _ => format!("{HEX}{}", ackonce::adapter::hex(id)),
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
    fn the_forms_of_an_id_are_read_and_nonsense_is_refused() {
        for (text, bytes) in [
            ("evt_1", &b"evt_1"[..]),
            ("hex:00ff", &[0, 255]),
            ("hex:00FF", &[0, 255]),
            ("base64:AP8=", &[0, 255]),
            ("base64:AP8", &[0, 255]),
            ("base64:-_8", &[251, 255]),
            ("hexagon", b"hexagon"),
        ] {
            assert_eq!(text.parse::<MessageId>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "hex:", "hex:0", "hex:0g", "hex:+1", "hex:é", "base64:", "base64:*"] {
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
