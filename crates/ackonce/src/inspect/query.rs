//! The question for a page: a filter, a limit, and a cursor that belongs to the filter.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::record::{Record, State};

/// The time after which a store ends a page that is not full: an answer follows in less than a second.
pub const PAGE_TIME: Duration = Duration::from_millis(500);

/// The records to list: all of the given conditions hold for them. The default lists every record.
///
/// ```
/// use std::time::Duration;
/// use ackonce::store::{Filter, State};
///
/// // Claims that have been held for more than ten minutes.
/// let filter = Filter {
///     state: Some(State::Claimed),
///     older_than: Some(Duration::from_secs(600)),
///     ..Filter::default()
/// };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Records in that state.
    pub state: Option<State>,
    /// Records of the scope with exactly that name. Records without names are not found by it; see
    /// [`Names`](crate::store::Names) for those that have them.
    pub scope: Option<String>,
    /// Buried records whose reason contains this text, with upper and lower case as they are.
    pub reason: Option<String>,
    /// Records whose last claim was at least that long ago.
    pub older_than: Option<Duration>,
}

impl Filter {
    /// True for a record that is listed: with that name of a scope, if it has one.
    #[must_use]
    pub fn matches(&self, scope: Option<&str>, record: &Record) -> bool {
        self.state.is_none_or(|state| state == record.state)
            && self.older_than.is_none_or(|age| age <= record.age)
            && self.scope.as_deref().is_none_or(|wanted| scope == Some(wanted))
            && self.reason.as_deref().is_none_or(|text| {
                let reason = record.reason.as_deref().filter(|_| record.state == State::Buried);
                reason.is_some_and(|reason| reason.contains(text))
            })
    }

    /// The only state of its records, if there is one: only a buried record has a reason.
    #[must_use]
    pub fn only(&self) -> Option<State> {
        self.state.or(self.reason.as_ref().map(|_| State::Buried))
    }

    /// True if no record can match.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.reason.is_some() && self.only() != Some(State::Buried)
    }
}

/// A page of records to list.
///
/// ```
/// use ackonce::store::{Filter, Query, State};
///
/// let buried = Filter { state: Some(State::Buried), ..Filter::default() };
/// let query = Query { filter: buried, limit: 500, after: None };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The records to list.
    pub filter: Filter,
    /// The most entries of a page; at least 1.
    pub limit: usize,
    /// The cursor at the end of the last page, for the same filter.
    pub after: Option<Bytes>,
}

/// The bytes of a cursor that tell its filter and its kind of store.
const SEAL: usize = 8;

impl Query {
    /// The cursor of the page that continues after `place`, a position of the store's own making. Its first bytes belong
    /// to `store`, the name of the kind of store, and to the filter.
    #[must_use]
    pub fn cursor(&self, store: &str, place: &[u8]) -> Bytes {
        [&self.seal(store), place].concat().into()
    }

    /// The position in the cursor; `None` for the first page.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid): the cursor comes from another filter or from another kind of store.
    pub fn place(&self, store: &str) -> Result<Option<&[u8]>> {
        let Some(cursor) = &self.after else { return Ok(None) };
        let place = cursor.strip_prefix(&self.seal(store));
        place.map(Some).ok_or_else(|| {
            let message = format!(
                "{store}: this cursor belongs to another filter or another store; list from the start"
            );
            Error::new(ErrorKind::Invalid, message)
        })
    }

    fn seal(&self, store: &str) -> [u8; SEAL] {
        let Filter { state, scope, reason, older_than } = &self.filter;
        let mut hash = Sha256::new();
        let age = older_than.map(|age| age.as_nanos().to_string());
        for part in
            [Some(store), state.map(State::as_str), scope.as_deref(), reason.as_deref(), age.as_deref()]
        {
            // A length before each part keeps the parts apart, and an absent one from an empty one.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&hash.finalize()[..SEAL]);
        seal
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn query(filter: Filter) -> Query {
        Query { filter, limit: 1, after: None }
    }

    #[test]
    fn a_cursor_belongs_to_its_filter_and_its_kind_of_store() {
        let text = |text: &str| Some(text.to_owned());
        let filters = [
            Filter::default(),
            Filter { state: Some(State::Done), ..Filter::default() },
            Filter { scope: text(""), ..Filter::default() },
            Filter { scope: text("done"), ..Filter::default() },
            Filter { reason: text("done"), ..Filter::default() },
            Filter { scope: text("a"), reason: text("b"), ..Filter::default() },
            Filter { scope: text("ab"), reason: text(""), ..Filter::default() },
            Filter { older_than: Some(Duration::ZERO), ..Filter::default() },
            Filter { older_than: Some(Duration::from_nanos(1)), ..Filter::default() },
        ];
        for (n, made) in filters.iter().enumerate() {
            let after = Some(query(made.clone()).cursor("redis", b"place"));
            for (m, used) in filters.iter().enumerate() {
                let query = Query { after: after.clone(), ..query(used.clone()) };
                assert_eq!(query.place("redis").is_ok(), n == m, "{made:?} {used:?}");
                assert!(query.place("memory").is_err());
            }
        }
        assert_eq!(query(Filter::default()).place("redis").unwrap(), None);
        let other = Query { after: Some(Bytes::from_static(b"short")), ..query(Filter::default()) };
        assert_eq!(other.place("redis").unwrap_err().kind(), ErrorKind::Invalid);
    }
}
