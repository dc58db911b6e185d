//! The `Idempotency-Key` header, read strictly.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sfv::{BareItem, Item, Parser};

use crate::problem::Problem;

/// `Idempotency-Key`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, in bytes, as Stripe has it.
pub const MAX_KEY_LEN: usize = 255;

/// A key as a client sent it. `"abc"` (a structured field's String, as the IETF draft writes it) and `abc` (as
/// nearly every client writes it) are one key.
///
/// The bare form is visible ASCII without `"`, `,`, `;` and `\`: two header lines that a proxy joined, or half
/// of a quoted form, are refused rather than taken for a key. Between quotes any printable ASCII is allowed, with `"` and
/// `\` escaped by a `\`.
///
/// ```
/// use ackonce_http::IdempotencyKey;
/// use http::{HeaderMap, HeaderValue};
/// let read = |value: &'static str| {
///     let headers = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), HeaderValue::from_static(value))]);
///     IdempotencyKey::from_headers(&headers)
/// };
/// assert_eq!(read("abc123").unwrap().as_bytes(), read("\"abc123\"").unwrap().as_bytes());
/// assert!(read("abc, def").is_err());
/// ```
#[derive(Clone)]
pub struct IdempotencyKey {
    sent: HeaderValue,
    /// The text between quotes; a bare key is the value itself.
    quoted: Option<Bytes>,
}

/// Why there is no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// There is no such header, or its value is empty.
    #[error("the Idempotency-Key header is missing")]
    Missing,
    /// It is neither a quoted nor a bare key.
    #[error("the Idempotency-Key header is malformed")]
    Malformed,
    /// It is longer than [`MAX_KEY_LEN`].
    #[error("the idempotency key is longer than {MAX_KEY_LEN} bytes")]
    TooLong,
    /// The header came several times, with different keys.
    #[error("the request has several idempotency keys")]
    Several,
}

impl IdempotencyKey {
    /// The key of these headers. Repeated headers with one and the same key are that key.
    ///
    /// # Errors
    /// [`InvalidKey`], with a [`problem`](InvalidKey::problem) to answer.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, InvalidKey> {
        let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
        let sent = all.next().ok_or(InvalidKey::Missing)?;
        let key = parse(sent.as_bytes())?;
        for other in all {
            if parse(other.as_bytes())? != key {
                return Err(InvalidKey::Several);
            }
        }
        let quoted = match key {
            Cow::Owned(key) => Some(key.into()),
            Cow::Borrowed(_) => None,
        };
        Ok(Self { sent: sent.clone(), quoted })
    }

    /// The key itself, without quotes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.quoted.as_ref().map_or_else(|| self.sent.as_bytes().trim_ascii(), Bytes::as_ref)
    }

    /// The header's value as it was sent.
    #[must_use]
    pub fn sent(&self) -> &HeaderValue {
        &self.sent
    }
}

impl PartialEq for IdempotencyKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes() && self.sent == other.sent
    }
}

impl Eq for IdempotencyKey {}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({self})")
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

fn parse(value: &[u8]) -> Result<Cow<'_, [u8]>, InvalidKey> {
    let value = value.trim_ascii();
    let key = match value.first() {
        Some(b'"') => Cow::Owned(quoted(value)?),
        _ => Cow::Borrowed(bare(value)?),
    };
    match key.len() {
        0 => Err(InvalidKey::Missing),
        1..=MAX_KEY_LEN => Ok(key),
        _ => Err(InvalidKey::TooLong),
    }
}

/// An Item of type String (RFC 9651); parameters are allowed and mean nothing.
fn quoted(value: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let item: Item = Parser::new(value).parse().map_err(|_| InvalidKey::Malformed)?;
    match item.bare_item {
        BareItem::String(text) if text.as_str().trim_ascii().is_empty() => Ok(Vec::new()),
        BareItem::String(text) => Ok(text.as_str().as_bytes().to_vec()),
        _ => Err(InvalidKey::Malformed),
    }
}

fn bare(value: &[u8]) -> Result<&[u8], InvalidKey> {
    // Without an early end: many bytes are looked at in one step then.
    let plain = |b: &u8| b.is_ascii_graphic() & !matches!(b, b'"' | b',' | b';' | b'\\');
    if value.iter().fold(true, |all, b| all & plain(b)) { Ok(value) } else { Err(InvalidKey::Malformed) }
}

impl InvalidKey {
    /// The answer: 400.
    #[must_use]
    pub fn problem(self) -> Problem {
        let (error, title) = match self {
            Self::Missing => ("missing_idempotency_key", "This request needs an Idempotency-Key header"),
            Self::Malformed => ("malformed_idempotency_key", "The Idempotency-Key header is malformed"),
            Self::TooLong => ("idempotency_key_too_long", "The idempotency key is longer than 255 bytes"),
            Self::Several => ("conflicting_idempotency_keys", "The request has several idempotency keys"),
        };
        let problem = Problem::new(StatusCode::BAD_REQUEST, error, title);
        match self {
            Self::Missing => problem.with_detail(
                "Send a key that is unique to this operation, a UUID for instance, and the same one when you retry it.",
            ),
            Self::Malformed => problem.with_detail(
                "A key is 1 to 255 visible ASCII characters other than comma, semicolon, backslash and double quote; or it \
                 stands between double quotes and is any printable ASCII, with a backslash before each double quote \
                 and backslash. Send one key, without a space.",
            ),
            Self::TooLong => {
                problem.with_detail("Send a shorter key that is unique to this operation, a UUID for instance.")
            }
            Self::Several => problem.with_detail("Send one Idempotency-Key header with one key."),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Bytes, InvalidKey> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        IdempotencyKey::from_headers(&headers).map(|key| Bytes::copy_from_slice(key.as_bytes()))
    }

    #[test]
    fn short_and_odd_shaped_keys_are_accepted_quoted_and_bare_as_one() {
        let keys = [
            "a",
            "abc123",
            "uuid-abc-123",
            "order_123_payment_attempt_1",
            "unique-request-id-12345",
            "8e03978e-40d5-43dd-bc93-6894a57f9324",
            "7",
            "007",
            "order:7/eu.west~1",
        ];
        for key in keys {
            assert_eq!(read(&[key.as_bytes()]).unwrap(), key);
            for quoted in [format!("\"{key}\""), format!("\"{key}\";a=1;b"), format!("  \"{key}\" ")] {
                assert_eq!(read(&[quoted.as_bytes()]).unwrap(), key, "{quoted}");
            }
        }
        assert_eq!(read(&[br#""a \"b\" \\c, d;""#]).unwrap(), r#"a "b" \c, d;"#);
        assert_ne!(read(&[b"7"]), read(&[b"007"]));
    }

    #[test]
    fn an_empty_value_counts_as_missing() {
        assert_eq!(read(&[]), Err(InvalidKey::Missing));
        for empty in ["", "  ", "\"\"", "\"   \"", "\"\";a=1"] {
            assert_eq!(read(&[empty.as_bytes()]), Err(InvalidKey::Missing), "{empty:?}");
        }
    }

    #[test]
    fn everything_else_is_malformed() {
        let bad: [&[u8]; 14] = [
            b"\"abc",
            b"abc\"",
            b"a b",
            b"a,b",
            b"\"a\", \"b\"",
            b"\"a\"b",
            b"a;b=1",
            b"\"a\\n\"",
            b"\"a\";",
            b"\"a\";=",
            b"\xff\xfe",
            "caf\u{e9}".as_bytes(),
            "\"caf\u{e9}\"".as_bytes(),
            b"a\tb",
        ];
        for value in bad {
            assert_eq!(read(&[value]), Err(InvalidKey::Malformed), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_answer_to_a_malformed_key_names_the_characters_that_are_refused() {
        let problem =
            serde_json::from_slice::<serde_json::Value>(&InvalidKey::Malformed.problem().to_json()).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        for (character, name) in
            [(",", "comma"), (";", "semicolon"), ("\\", "backslash"), ("\"", "double quote")]
        {
            assert!(read(&[format!("a{character}b").as_bytes()]).is_err(), "{character}");
            assert!(detail.contains(name), "{detail}");
        }
        // And they are keys between quotes, as it says.
        assert_eq!(read(&[br#""a,b;c\\d\"e""#]).unwrap(), r#"a,b;c\d"e"#);
    }

    #[test]
    fn at_most_255_bytes_whatever_the_quoting() {
        assert!(read(&["x".repeat(255).as_bytes()]).is_ok());
        assert_eq!(read(&["x".repeat(256).as_bytes()]), Err(InvalidKey::TooLong));
        assert_eq!(read(&[format!("\"{}\"", "x".repeat(255)).as_bytes()]).unwrap().len(), 255);
        assert_eq!(read(&[format!("\"{}\"", "x".repeat(256)).as_bytes()]), Err(InvalidKey::TooLong));
    }

    #[test]
    fn repeated_headers_that_differ_are_refused() {
        assert_eq!(read(&[b"a", b"b"]), Err(InvalidKey::Several));
        assert_eq!(read(&[b"a", b"\"a\""]).unwrap(), "a");
        assert_eq!(read(&[b"a", b"a,"]), Err(InvalidKey::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_value_panics_and_what_is_accepted_is_bounded(value in prop::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(b"\"\\;,= aZ09".to_vec())], 0..300)) {
            if let Ok(sent) = HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, sent)]);
                if let Ok(key) = IdempotencyKey::from_headers(&headers) {
                    prop_assert!((1..=MAX_KEY_LEN).contains(&key.as_bytes().len()));
                    prop_assert!(key.as_bytes().iter().all(|b| (0x20..0x7f).contains(b)));
                }
            }
        }

        #[test]
        fn every_printable_key_survives_quoting(key in "[ -~]{1,255}") {
            prop_assume!(!key.trim().is_empty());
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(read(&[quoted.as_bytes()]).unwrap(), key);
        }
    }
}
