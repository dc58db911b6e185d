//! The position of a walk through all records: the generations by age, then the claims.
//!
//! In this order the walk meets a record that is settled meanwhile at most once.

use super::columns::Shape;
use super::generation::Generation;
use crate::clock::moment;

/// The position after this key of this generation, or of the claims once the generations are through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    generation: i64,
    key: Vec<u8>,
}

/// The length of a record key in a cursor; a cursor at the start of a generation has none.
const KEY: usize = 16;

impl Cursor {
    pub(crate) const START: Self = Self { generation: 0, key: Vec::new() };

    /// Decodes a cursor; `None` if it is malformed.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (generation, key) = bytes.split_first_chunk()?;
        let cursor = Self { generation: i64::from_be_bytes(*generation), key: key.to_vec() };
        (matches!(key.len(), 0 | KEY) && cursor.generation >= 0).then_some(cursor)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&self.generation.to_be_bytes()[..], &self.key].concat()
    }

    /// The table to continue in, and the key in it to continue after.
    pub(crate) fn table(&self, all: &[Generation]) -> (Table, &[u8]) {
        let next = all.iter().find(|g| g.id >= self.generation);
        let key = match next {
            Some(g) if g.id > self.generation => &[],
            _ => &self.key[..],
        };
        (next.map_or(Table::claims(), Table::of), key)
    }
}

/// A table in a walk.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Its generation; `None` for the claims.
    pub(crate) generation: Option<Generation>,
    /// The column or expression to compare with [`expiry_bound`](Self::expiry_bound).
    pub(crate) expires: &'static str,
    opened: i64,
    life: i64,
}

impl Table {
    pub(crate) fn claims() -> Self {
        let name = "main.ackonce_claims".into();
        Self { name, generation: None, expires: "expires", opened: 0, life: 0 }
    }

    fn of(generation: &Generation) -> Self {
        let (name, own) = (generation.table(), Some(generation.clone()));
        match generation.shape {
            Shape::Full => Self { name, generation: own, ..Self::claims() },
            Shape::Brief => {
                let (opened, life) = (generation.opened, generation.life);
                Self { name, generation: own, expires: "fence + life", opened, life }
            }
        }
    }

    /// The greatest value of that column in a record that has expired at `now`.
    pub(crate) fn expiry_bound(&self, now: u64) -> i64 {
        moment(now).saturating_sub(self.opened).saturating_sub(self.life)
    }

    /// The value that every fence before `now` is below.
    pub(crate) fn fence_bound(&self, now: u64) -> i64 {
        moment(now).saturating_sub(self.opened)
    }

    /// The generation, if its records are brief.
    pub(crate) fn brief(&self) -> Option<&Generation> {
        self.generation.as_ref().filter(|g| g.shape == Shape::Brief)
    }

    /// The position after this key of the table.
    pub(crate) fn after(&self, key: Vec<u8>) -> Cursor {
        Cursor { generation: self.generation.as_ref().map_or(i64::MAX, |g| g.id), key }
    }

    /// The position after the whole table; `None` after the last table.
    pub(crate) fn end(&self) -> Option<Cursor> {
        let id = self.generation.as_ref()?.id;
        Some(Cursor { generation: id.saturating_add(1), key: Vec::new() })
    }
}
