//! Any bytes as the `Idempotency-Key` header: no panic, and what is accepted is short and printable.

use ackonce_http::{IDEMPOTENCY_KEY, IdempotencyKey, MAX_KEY_LEN};
use http::{HeaderMap, HeaderValue};

pub fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(IDEMPOTENCY_KEY, value);
        }
    }
    if let Ok(key) = IdempotencyKey::from_headers(&headers) {
        assert!((1..=MAX_KEY_LEN).contains(&key.as_bytes().len()));
        assert!(key.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        &b"\"8e03978e-40d5-43dd-bc93-6894a57f9324\""[..],
        b"plain",
        b"\"a\"\n\"b\"",
        b"\"a\\\"b\\\\\";p=1",
        b"\"\"",
    ]
    .map(<[u8]>::to_vec)
    .into()
}
