//! A message on its way from the outbox to its destination.

use ackonce::adapter::hex;
use bytes::Bytes;

/// A message of the outbox, as publishers see it. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// The message ID, the same at every publication of this message.
    pub id: String,
    /// The destination; its form is that of the publisher.
    pub to: String,
    /// The key: messages of one key and destination go out in order.
    pub key: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// The payload.
    pub payload: Bytes,
}

/// The stored form of headers: for each the length of the name as 2 bytes, the name, the length of the value as 4 bytes,
/// the value; lengths are big-endian.
pub(crate) fn encode(headers: &[(String, Bytes)]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.extend_from_slice(&u16::try_from(name.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(value);
    }
    Some(bytes)
}

/// The headers of that form; `None` if no version wrote it.
pub(crate) fn decode(mut bytes: Bytes) -> Option<Vec<(String, Bytes)>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let len = u16::from_be_bytes(take(&mut bytes, 2)?[..].try_into().ok()?);
        let name = String::from_utf8(take(&mut bytes, usize::from(len))?.into()).ok()?;
        let len = u32::from_be_bytes(take(&mut bytes, 4)?[..].try_into().ok()?);
        headers.push((name, take(&mut bytes, usize::try_from(len).ok()?)?));
    }
    Some(headers)
}

fn take(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (bytes.len() >= len).then(|| bytes.split_to(len))
}

/// A message ID nobody else has.
pub(crate) fn new_id() -> String {
    hex(&ackonce::store::Token::random().0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back_as_they_went(all in prop::collection::vec((".{0,20}", prop::collection::vec(any::<u8>(), 0..50)), 0..5)) {
            let headers: Vec<_> = all.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect();
            prop_assert_eq!(decode(encode(&headers).unwrap().into()).unwrap(), headers);
        }

        #[test]
        fn no_bytes_reach_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = decode(bytes.into());
        }
    }
}
