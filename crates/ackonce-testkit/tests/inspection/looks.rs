//! Looking into the sabotaged store.

use std::collections::BTreeMap;
use std::time::Duration;

use ackonce::protocol::Row;
use ackonce::store::{Entry, Filter, Page, Query, ScopeStats, State, Stats};
use ackonce::{Error, ErrorKind, Key, Result};
use bytes::Bytes;

use crate::bug::Bug;
use crate::store::Sabotaged;

impl Sabotaged {
    pub(crate) fn shown(&self, key: &Key) -> Option<Entry> {
        let (now, found) = (self.now(), self.find(key));
        if self.has(Bug::GetMakesARecord) && found.is_none() {
            self.write(key, self.conjured());
        }
        let row = found.filter(|row| now < row.expires || self.has(Bug::GetShowsExpired))?;
        if self.has(Bug::GetHidesLapsed) && row.state == State::Claimed && row.free_at <= now {
            return None;
        }
        if self.has(Bug::GetExtends) {
            self.write(key, Row { free_at: now + 3_600_000_000, expires: u64::MAX, ..row.clone() });
        }
        let mut entry = plain(key, &row, now);
        let record = &mut entry.record;
        match self.bug {
            Bug::GetDropsOutcome => record.outcome = None,
            Bug::GetDropsReason => record.reason = None,
            Bug::GetCountsFromOne => record.attempt = record.attempt.max(1),
            Bug::GetForgetsFence => record.fence = 0,
            _ => {}
        }
        Some(entry)
    }

    pub(crate) fn page(&self, query: &Query) -> Result<Page> {
        let now = self.now();
        let found = self.found(&query.filter, now);
        let filter = &query.filter;
        let query = &Query { filter: self.sealing(filter), ..query.clone() };
        let from = self.from(query, &found)?;
        let limit = if self.has(Bug::ListIgnoresLimit) { usize::MAX } else { query.limit };
        let left = found.len().saturating_sub(from).saturating_sub(limit);
        let mut page: Vec<_> = found.into_iter().skip(from).take(limit).collect();
        let mut next = page.last().filter(|_| left > 0).map(|(key, _)| match self.by_offset() {
            true => query.cursor("sabotaged", (from + limit).to_string().as_bytes()),
            false => query.cursor("sabotaged", key.digest()),
        });
        if self.has(Bug::ListEndsEarly) && left < limit {
            next = None;
        }
        if self.has(Bug::ListFiltersAfterPage) {
            page.retain(|(key, row)| self.wants(filter, key, row, now));
            next = next.filter(|_| page.len() == limit);
        }
        if self.has(Bug::ListNeverEnds) && page.is_empty() {
            next = Some(query.cursor("sabotaged", &[0; 32]));
        }
        if self.has(Bug::ListSkips) && next.is_some() {
            page.pop();
        }
        Ok(Page { entries: page.iter().map(|(key, row)| self.entry(key, row, now)).collect(), next })
    }

    /// The records that a list goes through.
    fn found(&self, filter: &Filter, now: u64) -> Vec<(Key, Row)> {
        let mut found = self.lock().clone();
        if self.has(Bug::ListNewestFirst) {
            found.reverse();
        } else {
            found.sort_by_key(|(key, _)| *key.digest());
        }
        found.retain(|(_, row)| now < row.expires || self.has(Bug::ListShowsExpired));
        if !self.has(Bug::ListFiltersAfterPage) {
            found.retain(|(key, row)| self.wants(filter, key, row, now));
        }
        found
    }

    fn wants(&self, filter: &Filter, key: &Key, row: &Row, now: u64) -> bool {
        let mut filter = filter.clone();
        match self.bug {
            Bug::ListIgnoresState => filter.state = None,
            Bug::ListIgnoresScope => filter.scope = None,
            Bug::ListIgnoresReason => filter.reason = None,
            Bug::ListIgnoresAge => filter.older_than = None,
            Bug::ListMatchesAnyCondition if filter.scope.is_some() && filter.state.is_some() => {
                let scope = Filter { scope: filter.scope.take(), ..Filter::default() };
                return filter.matches(None, &row.record(now))
                    || scope.matches(Some(key.scope().name()), &row.record(now));
            }
            Bug::ListComparesReasonWhole => {
                return filter.reason.is_none_or(|reason| row.reason.as_ref() == Some(&reason));
            }
            _ => {}
        }
        filter.matches(Some(key.scope().name()), &row.record(now))
    }

    /// The filter that a cursor belongs to.
    fn sealing(&self, filter: &Filter) -> Filter {
        if self.has(Bug::AnyFilterTakesCursor) { Filter::default() } else { filter.clone() }
    }

    fn by_offset(&self) -> bool {
        [Bug::ListByOffset, Bug::ListNewestFirst, Bug::ListSkipsByFilter].contains(&self.bug)
    }

    /// The start of the page after that cursor.
    fn from(&self, query: &Query, found: &[(Key, Row)]) -> Result<usize> {
        let foreign = || Error::new(ErrorKind::Invalid, "not a cursor");
        let place = match query.place("sabotaged") {
            Err(_) if self.has(Bug::AnyCursorIsStart) => return Ok(0),
            place => place?,
        };
        match place {
            None => Ok(0),
            Some(place) if self.by_offset() => {
                std::str::from_utf8(place).ok().and_then(|text| text.parse().ok()).ok_or_else(foreign)
            }
            Some(place) => Ok(found.partition_point(|(key, _)| {
                key.digest()[..] < *place || key.digest()[..] == *place && !self.has(Bug::ListRepeats)
            })),
        }
    }

    pub(crate) fn count(&self) -> Stats {
        let mut stats =
            Stats { bytes: Some(if self.has(Bug::SizeIsZero) { 0 } else { 42 }), ..Stats::default() };
        for (_, row) in self.lock().iter() {
            match row.state {
                _ if self.has(Bug::CountsAllAsDone) => stats.done += 1,
                State::Claimed => stats.claimed += 1,
                State::Released => stats.released += 1,
                State::Done => stats.done += 1,
                State::Buried => stats.buried += 1,
            }
            if self.has(Bug::CountsTwice) && row.state == State::Released {
                stats.done += 1;
            }
        }
        stats
    }

    pub(crate) fn by_scope(&self) -> Vec<ScopeStats> {
        let mut scopes: BTreeMap<Option<String>, ScopeStats> = BTreeMap::new();
        for (key, row) in self.lock().iter() {
            let scope = Some(key.scope().name().to_owned()).filter(|_| !self.has(Bug::ScopesInOne));
            let stats = scopes.entry(scope.clone());
            stats.or_insert_with(|| ScopeStats { scope, ..ScopeStats::default() }).add(row.state, 1);
        }
        scopes.into_values().collect()
    }

    fn entry(&self, key: &Key, row: &Row, now: u64) -> Entry {
        let mut entry = plain(key, row, now);
        match self.bug {
            Bug::ListDropsOutcome => entry.record.outcome = None,
            Bug::ListSwapsTimes => std::mem::swap(&mut entry.expires_in, &mut entry.free_in),
            Bug::ListNamesNobody => (entry.scope, entry.id) = (None, None),
            Bug::RedriveLeavesNoName if row.state == State::Released && row.attempt == 0 => {
                (entry.scope, entry.id) = (None, None);
            }
            Bug::ListNamesWrong => entry.scope = Some("another".into()),
            _ => {}
        }
        entry
    }
}

/// The entry of a store without a bug.
fn plain(key: &Key, row: &Row, now: u64) -> Entry {
    Entry {
        digest: Bytes::copy_from_slice(key.digest()),
        scope: Some(key.scope().name().to_owned()),
        id: Some(key.id().clone()),
        record: row.record(now),
        expires_in: Duration::from_micros(row.expires.saturating_sub(now)),
        free_in: row.free_in(now),
    }
}
