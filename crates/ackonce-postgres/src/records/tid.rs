//! The place of a row in its table.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// The place of a row, as PostgreSQL's `tid`; with the offset 0 it is before the first row of its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tid {
    pub(crate) page: u32,
    pub(crate) offset: u16,
}

impl Tid {
    /// The place before the first row of a page.
    pub(crate) fn before(page: u32) -> Self {
        Self { page, offset: 0 }
    }

    pub(crate) fn to_bytes(self) -> [u8; 6] {
        let ([a, b, c, d], [e, f]) = (self.page.to_be_bytes(), self.offset.to_be_bytes());
        [a, b, c, d, e, f]
    }

    pub(crate) fn of(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self { page: u32::from_be_bytes([a, b, c, d]), offset: u16::from_be_bytes([e, f]) }
    }
}

impl ToSql for Tid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(&self.to_bytes());
        Ok(IsNull::No)
    }
    accepts!(TID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Tid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self::of(raw.try_into()?))
    }
    accepts!(TID);
}
