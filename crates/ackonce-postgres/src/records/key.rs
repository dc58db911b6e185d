//! The key of a record: 128 bits of a hash with the schema's secret.

use std::error::Error as StdError;
use std::fmt::Write as _;

use ackonce::Key;
use ackonce::store::Token;
use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha256};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// Sixteen bytes as PostgreSQL's `uuid`, its only type of that length without a header: an index entry of
/// `bytea` with the same bytes is 8 longer, with all 32 of a digest 24. It has no collation either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl Id {
    /// Reads a `uuid` as text.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        from_hex(&text.replace('-', ""))?.try_into().ok().map(Self)
    }

    /// The digits that a `uuid` is read from.
    pub(crate) fn to_text(self) -> String {
        to_hex(&self.0)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits.
pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(value(high)? * 16 + value(low)?),
            _ => None,
        })
        .collect()
}

impl From<Token> for Id {
    fn from(token: Token) -> Self {
        Self(token.0)
    }
}

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }
    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }
    accepts!(UUID);
}

/// The schema's secret, from its table `meta`: without it an attacker cannot choose message IDs that collide in 128
/// bits. It belongs to the schema and not to the program, so all clients derive the same keys.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) [u8; 32]);

impl Salt {
    pub(crate) fn id(&self, key: &Key) -> Id {
        let digest = Sha256::new().chain_update(self.0).chain_update(key.digest()).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Id(id)
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}
