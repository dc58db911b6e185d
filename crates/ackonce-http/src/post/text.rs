//! Bytes of a message as text that a header or an environment variable can carry.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// Control characters, bytes over 127, which the encoder always takes, and the percent sign, so that every text has one
/// reading.
const OTHERS: &AsciiSet = &CONTROLS.add(b'%');

/// The same text where it is printable ASCII without a percent sign; else percent-encoded (RFC 3986).
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    percent_encode(bytes, OTHERS).into()
}

/// A short part of a text that a stranger wrote, on one line.
pub fn excerpt(bytes: &[u8], longest: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_text_of_its_own() {
        let ids: [&[u8]; 7] = [b"evt_1", b"a b", b"a%20b", b"\0", b"%00", "ä".as_bytes(), b"\xff\n"];
        let texts: Vec<_> = ids.iter().map(|id| printable(id).into_owned()).collect();
        assert_eq!(texts, ["evt_1", "a b", "a%2520b", "%00", "%2500", "%C3%A4", "%FF%0A"]);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b" a\nb\xff ", 10), "a b\u{fffd}");
        assert_eq!(excerpt("äöü".as_bytes(), 2), "äö…");
    }
}
