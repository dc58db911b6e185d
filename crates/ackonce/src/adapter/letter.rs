//! The contents of dead letters that are the same at all brokers: identity, reason, digest, and the proof of the burial.

use sha2::{Digest, Sha256};

use super::{BurialProof, Identify, headers};
use crate::key::Key;
use crate::key::hex;

/// The longest reason that is recorded and put on a dead letter, in bytes: stores limit values, brokers limit headers.
pub const MAX_REASON_LEN: usize = 4096;

/// The value of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// A number, for a broker whose headers have types.
    Number(u32),
}

/// The headers of a copy that name its message: reason, attempts, scope and message ID. The reason has `max_reason_len`
/// bytes at most.
#[must_use]
pub fn copy_headers<'a>(
    key: &'a Key,
    reason: &'a str,
    attempts: u32,
    max_reason_len: usize,
) -> [(&'static str, HeaderValue<'a>); 4] {
    [
        (headers::ERROR, HeaderValue::Bytes(cut(reason, max_reason_len).as_bytes())),
        (headers::ATTEMPTS, HeaderValue::Number(attempts)),
        (headers::SCOPE, HeaderValue::Bytes(key.scope().name().as_bytes())),
        (headers::MESSAGE_ID, HeaderValue::Bytes(key.id())),
    ]
}

/// The proof of a burial that a letter carries.
#[must_use]
pub fn burial_proof(message: &impl Identify) -> Option<BurialProof> {
    std::str::from_utf8(message.header(headers::BURIAL)?).ok()?.parse().ok()
}

/// The digest that stands for a payload on a letter without it: SHA-256, in hexadecimal digits.
#[must_use]
pub fn payload_digest(payload: &[u8]) -> String {
    hex(&Sha256::digest(payload))
}

/// The beginning of a text, `max_len` bytes at most, that ends between two letters.
#[must_use]
pub fn cut(text: &str, max_len: usize) -> &str {
    let end = (0..=text.len().min(max_len)).rfind(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        assert_eq!(cut(&"ä".repeat(MAX_REASON_LEN), MAX_REASON_LEN).len(), MAX_REASON_LEN);
        assert_eq!(cut(&format!("a{}", "ä".repeat(200)), 256).len(), 255);
        assert_eq!(cut("short", 256), "short");
    }

    #[test]
    fn the_digest_of_a_payload_is_its_sha_256() {
        let digest = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
        assert_eq!(payload_digest(b"body"), digest);
    }
}
