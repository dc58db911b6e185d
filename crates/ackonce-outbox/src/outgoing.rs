//! A message that the user publishes.

use ackonce::{Error, ErrorKind, Result};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::message::{encode, new_id};

/// The longest destination in bytes.
pub const MAX_DESTINATION_LEN: usize = 512;
/// The longest message ID in bytes: that of an AMQP property.
pub const MAX_OUTBOX_ID_LEN: usize = 255;
/// The number of ranges that relays share: a stored format.
pub(crate) const RANGES: i16 = 16;

/// A message to publish with a commit.
///
/// ```
/// use ackonce_outbox::Outgoing;
///
/// let placed = Outgoing {
///     to: "orders".into(),
///     key: Some("customer-7".into()),
///     headers: vec![("content-type".into(), "application/json".into())],
///     payload: r#"{"order": 1}"#.into(),
///     ..Outgoing::default()
/// };
/// assert_eq!(placed, Outgoing::new("orders", r#"{"order": 1}"#)
///     .with_key("customer-7")
///     .with_header("content-type", "application/json"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The destination: a topic of Kafka; for RabbitMQ a queue, or `EXCHANGE/ROUTING-KEY`; for HTTP a path beneath the
    /// publisher's address, or a URL. 1 to 512 bytes.
    pub to: String,
    /// The key. Messages of one key and destination go out in the order in which they were published; those without a key
    /// in none. It is the record key of Kafka.
    pub key: Option<Bytes>,
    /// Headers. Names that begin with `ackonce-` and `message-id` are refused: the relay sets them.
    pub headers: Vec<(String, Bytes)>,
    /// The payload.
    pub payload: Bytes,
    /// The message ID, by which a consumer knows it again: 1 to 255 bytes. Default: 128 random bits. One of your own, such
    /// as [`Context::idempotency_key`](ackonce::Context::idempotency_key), is the same where a message is published again
    /// by a second transaction.
    pub id: Option<String>,
}

impl Outgoing {
    /// A message without key and headers.
    pub fn new(to: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { to: to.into(), payload: payload.into(), ..Self::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with a further header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this message ID.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The columns of its row, for a driver of your own: the parameters of
    /// [`PostgresOutbox::insert_sql`](crate::PostgresOutbox::insert_sql), in order.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid): a destination, ID or header outside of its limits.
    pub fn row(&self) -> Result<OutgoingRow> {
        let refuse = |why: String| Error::new(ErrorKind::Invalid, format!("outbox: {why}"));
        if !(1..=MAX_DESTINATION_LEN).contains(&self.to.len()) || self.to.chars().any(char::is_control) {
            return Err(refuse(format!(
                "Outgoing::to has 1 to {MAX_DESTINATION_LEN} bytes without control characters"
            )));
        }
        if let Some(id) = &self.id
            && !(1..=MAX_OUTBOX_ID_LEN).contains(&id.len())
        {
            return Err(refuse(format!("Outgoing::id has 1 to {MAX_OUTBOX_ID_LEN} bytes")));
        }
        let own = |name: &str| {
            let start = name.get(..8).unwrap_or_default();
            name.is_empty()
                || start.eq_ignore_ascii_case("ackonce-")
                || name.eq_ignore_ascii_case("message-id")
        };
        if let Some((name, _)) = self.headers.iter().find(|(name, _)| own(name)) {
            return Err(refuse(format!("Outgoing::headers has {name:?}, which the relay sets")));
        }
        let headers = encode(&self.headers).ok_or_else(|| refuse("a header is too long".into()))?;
        Ok(OutgoingRow {
            lane: self.lane(),
            message_id: self.id.clone().unwrap_or_else(new_id),
            destination: self.to.clone(),
            key: self.key.as_ref().map(|key| key.to_vec()),
            headers,
            payload: self.payload.to_vec(),
        })
    }

    /// A digest of destination and key; random without a key, since nothing has to wait for such a message.
    fn lane(&self) -> i64 {
        let Some(key) = &self.key else {
            return i64::from_be_bytes(first(&ackonce::store::Token::random().0));
        };
        let mut digest = Sha256::new();
        digest.update((self.to.len() as u64).to_be_bytes());
        digest.update(&self.to);
        digest.update(key);
        i64::from_be_bytes(first(&digest.finalize()))
    }
}

fn first(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    first
}

/// The range of a lane: its four lowest bits.
pub(crate) fn range_of(lane: i64) -> i16 {
    i16::try_from(lane & i64::from(RANGES - 1)).unwrap_or_default()
}

/// The columns of a message's row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingRow {
    /// A digest of destination and key: rows of one lane go out in order.
    pub lane: i64,
    /// The message ID.
    pub message_id: String,
    /// The destination.
    pub destination: String,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The headers, as FORMAT.md describes them.
    pub headers: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_outside_of_its_limits_is_refused_by_name() {
        let ok = || Outgoing::new("orders", "x");
        for (outgoing, part) in [
            (Outgoing::default(), "Outgoing::to"),
            (Outgoing::new("a\nb", ""), "Outgoing::to"),
            (Outgoing::new("x".repeat(513), ""), "Outgoing::to"),
            (ok().with_id(""), "Outgoing::id"),
            (ok().with_id("x".repeat(256)), "Outgoing::id"),
            (ok().with_header("Message-Id", "x"), "Outgoing::headers"),
            (ok().with_header("Ackonce-x", "x"), "Outgoing::headers"),
            (ok().with_header("x".repeat(70_000), "x"), "too long"),
        ] {
            let error = outgoing.row().unwrap_err();
            assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(part), "{error}");
        }
        assert_ne!(ok().row().unwrap().message_id, ok().row().unwrap().message_id);
        assert!(ok().with_header("äöüäöü", "x").row().is_ok());
    }

    #[test]
    fn the_lane_is_a_stored_format() {
        let lane = |to: &str, key: &'static str| Outgoing::new(to, "").with_key(key).row().unwrap().lane;
        assert_eq!(lane("orders", "7"), lane("orders", "7"));
        assert_ne!(lane("orders", "7"), lane("bills", "7"));
        assert_ne!(lane("ab", "c"), lane("a", "bc"));
        let digest = Sha256::digest(b"\0\0\0\0\0\0\0\x06orders7");
        assert_eq!(lane("orders", "7").to_be_bytes(), digest[..8]);
        assert!((0..RANGES).contains(&range_of(lane("orders", "7"))) && range_of(-1) == 15);
    }
}
