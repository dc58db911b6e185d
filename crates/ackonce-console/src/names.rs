//! Message IDs as text: they are bytes of a sender, and a person has to read, copy and type them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;

/// Why a text names no ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTextError {
    /// After `hex:`.
    #[error("the ID after hex: is not pairs of hexadecimal digits")]
    Hex,
    /// After `base64:`.
    #[error("the ID after base64: is not base64")]
    Base64,
}

/// An ID as text: as it is, if that can be read; otherwise `hex:` and its digits. [`parse`] takes either.
///
/// ```
/// use ackonce_console::names::{parse, shown};
///
/// assert_eq!(shown(b"evt_1"), "evt_1");
/// assert_eq!(shown(b"\xff\0"), "hex:ff00");
/// assert_eq!(parse("base64:ZXZ0XzE=")?, "evt_1");
/// # Ok::<(), ackonce_console::names::IdTextError>(())
/// ```
#[must_use]
pub fn shown(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if is_plain(text) => text.to_owned(),
        _ => format!("hex:{}", hex::encode(id)),
    }
}

fn is_plain(text: &str) -> bool {
    let prefixed = text.starts_with("hex:") || text.starts_with("base64:");
    !prefixed && text.trim() == text && !text.chars().any(is_unseen)
}

/// Control characters, and those that change the order or the look of others.
fn is_unseen(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// The ID of `evt_1`, `hex:6576745f31` or `base64:ZXZ0XzE=`; base64 with or without padding, in either alphabet.
///
/// # Errors
/// The text after `hex:` or `base64:` is none.
pub fn parse(text: &str) -> Result<Bytes, IdTextError> {
    if let Some(digits) = text.strip_prefix("hex:") {
        return hex::decode(digits).map(Bytes::from).map_err(|_| IdTextError::Hex);
    }
    if let Some(digits) = text.strip_prefix("base64:") {
        let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
        let decoded = engines.iter().find_map(|engine| engine.decode(digits).ok());
        return decoded.map(Bytes::from).ok_or(IdTextError::Base64);
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_found_again_by_its_text() {
        let ids: [&[u8]; 9] = [
            b"evt_1",
            b"<script>alert(1)</script>",
            b"a b",
            b" padded ",
            b"\xff\0",
            b"hex:00",
            b"base64:AA==",
            "\u{202e}gnp.exe".as_bytes(),
            "\u{e9}t\u{e9}".as_bytes(),
        ];
        for id in ids {
            assert_eq!(parse(&shown(id)).unwrap(), id, "{}", shown(id));
        }
        assert_eq!(shown(b"\xff\0"), "hex:ff00");
        assert_eq!(shown(" a".as_bytes()), "hex:2061");
        assert_eq!(parse("base64:ZXZ0XzE=").unwrap(), "evt_1");
        for (text, bytes) in [("hex:00FF", [0, 255]), ("base64:AP8", [0, 255]), ("base64:-_8", [251, 255])] {
            assert_eq!(parse(text).unwrap(), &bytes[..], "{text}");
        }
        assert_eq!(parse("hexagon").unwrap(), "hexagon");
        for text in ["hex:0", "hex:0g", "hex:+1", "hex:é"] {
            assert_eq!(parse(text).unwrap_err(), IdTextError::Hex, "{text}");
        }
        assert_eq!(parse("base64:*").unwrap_err(), IdTextError::Base64);
    }
}
