//! A tiny store that can be inspected, on the protocol's own functions, with one bug.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ackonce::protocol::{self, Row};
use ackonce::{
    ClaimRequest, Claimed, Deduplicator, Description, Entry, Error, ErrorKind, Inspect, Key, Note, Page,
    Previous, Query, Record, Result, Settled, Settlement, State, Stats, Tended, Token,
};
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::bug::Bug;

/// Records in the order they came.
type Rows = Vec<(Key, Row)>;

#[derive(Clone)]
pub(crate) struct Sabotaged {
    bug: Bug,
    start: Instant,
    rows: Arc<Mutex<Rows>>,
}

impl fmt::Debug for Sabotaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.bug)
    }
}

#[async_trait]
impl Fixture for Sabotaged {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(self.clone())
    }

    fn is_alone(&self) -> bool {
        true
    }
}

impl Sabotaged {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { bug, start: Instant::now(), rows: Arc::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    fn now(&self) -> u64 {
        1_000_000_000 + u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    fn find(&self, key: &Key) -> Option<Row> {
        let same = |k: &Key| if self.has(Bug::FindsByIdAlone) { k.id() == key.id() } else { k == key };
        self.lock().iter().find(|(k, _)| same(k)).map(|(_, row)| row.clone())
    }

    fn write(&self, key: &Key, row: Row) {
        let mut rows = self.lock();
        match rows.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = row,
            None => rows.push((key.clone(), row)),
        }
    }

    /// A row that no claim wrote.
    fn conjured(&self) -> Row {
        Row {
            state: State::Released,
            token: Token::random(),
            fence: self.now(),
            claimed: self.now(),
            attempt: 1,
            previous: Previous::Released,
            fingerprint: None,
            lease_ends: 0,
            expires: u64::MAX,
            outcome: None,
            reason: None,
        }
    }
}

#[async_trait]
impl Deduplicator for Sabotaged {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let claim = |request: &ClaimRequest| {
            let row = self.lock().iter().find(|(k, _)| *k == request.key).map(|(_, row)| row.clone());
            let (mut answer, mut change) = protocol::claim(row.as_ref(), request, self.now());
            if let (Claimed::Acquired(lease), Some(new), None) = (&mut answer, &mut change, &row)
                && (self.has(Bug::ForgetRestartsFence) || self.has(Bug::SweepRestartsFence))
            {
                (lease.fence, new.fence) = (1, 1);
            }
            change.map(|row| self.write(&request.key, row));
            answer
        };
        Ok(requests.iter().map(claim).collect())
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let settle = |settlement: &Settlement| {
            let row = self.lock().iter().find(|(k, _)| *k == settlement.key).map(|(_, row)| row.clone());
            let row = row.map(|row| match self.bug {
                Bug::ForgetLeavesLease => Row { expires: u64::MAX, ..row },
                _ => row,
            });
            let (answer, change) = protocol::settle(row.as_ref(), settlement, self.now());
            change.map(|row| self.write(&settlement.key, row));
            answer
        };
        Ok(settlements.iter().map(settle).collect())
    }

    fn describe(&self) -> Description {
        Description { name: format!("{:?}", self.bug), weaknesses: Vec::new() }
    }
}

#[async_trait]
impl Inspect for Sabotaged {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let (now, found) = (self.now(), self.find(key));
        if self.has(Bug::GetMakesARecord) && found.is_none() {
            self.write(key, self.conjured());
        }
        let Some(row) = found.filter(|row| now < row.expires || self.has(Bug::GetShowsExpired)) else {
            return Ok(None);
        };
        if self.has(Bug::GetHidesLapsed) && row.state == State::Claimed && row.lease_ends <= now {
            return Ok(None);
        }
        if self.has(Bug::GetExtends) {
            self.write(key, Row { lease_ends: now + 3_600_000_000, expires: u64::MAX, ..row.clone() });
        }
        let mut record = row.record(now);
        match self.bug {
            Bug::GetDropsOutcome => record.outcome = None,
            Bug::GetDropsReason => record.reason = None,
            Bug::GetCountsFromOne => record.attempt = record.attempt.max(1),
            Bug::GetForgetsFence => record.fence = 0,
            _ => {}
        }
        Ok(Some(record))
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let by_offset = self.has(Bug::ListByOffset) || self.has(Bug::ListNewestFirst);
        let after = match &query.after {
            _ if by_offset => None,
            None => None,
            Some(cursor) if cursor.len() == 32 => Some(cursor.clone()),
            Some(_) if self.has(Bug::AnyCursorIsStart) => None,
            Some(_) => return Err(Error::new(ErrorKind::Invalid, "not a cursor")),
        };
        let (now, mut found) = (self.now(), self.lock().clone());
        if self.has(Bug::ListNewestFirst) {
            found.reverse();
        } else {
            found.sort_by_key(|(key, _)| *key.digest());
        }
        found.retain(|(_, row)| now < row.expires || self.has(Bug::ListShowsExpired));
        let late = self.has(Bug::ListFiltersAfterPage);
        let wanted =
            |row: &Row| query.state.is_none_or(|s| s == row.state) || self.has(Bug::ListIgnoresState);
        found.retain(|(_, row)| late || wanted(row));
        let repeat = self.has(Bug::ListRepeats);
        found.retain(|(key, _)| {
            after.as_ref().is_none_or(|a| key.digest()[..] > a[..] || repeat && key.digest()[..] == a[..])
        });
        let skipped = match &query.after {
            Some(cursor) if by_offset => {
                match std::str::from_utf8(cursor).ok().and_then(|c| c.parse().ok()) {
                    Some(skipped) => skipped,
                    None => return Err(Error::new(ErrorKind::Invalid, "not a cursor")),
                }
            }
            _ => 0,
        };
        let limit = if self.has(Bug::ListIgnoresLimit) { usize::MAX } else { query.limit };
        let left = found.len().saturating_sub(skipped).saturating_sub(limit);
        let mut page: Vec<_> = found.into_iter().skip(skipped).take(limit).collect();
        let mut next = match page.last() {
            Some(_) if left > 0 && by_offset => Some(Bytes::from((skipped + limit).to_string())),
            Some((key, _)) if left > 0 => Some(Bytes::copy_from_slice(key.digest())),
            _ => None,
        };
        if self.has(Bug::ListEndsEarly) && left < limit {
            next = None;
        }
        if late {
            page.retain(|(_, row)| wanted(row));
            next = next.filter(|_| page.len() == limit);
        }
        if self.has(Bug::ListSkips) && next.is_some() {
            page.pop();
        }
        Ok(Page { entries: page.iter().map(|(key, row)| self.entry(key, row, now)).collect(), next })
    }

    async fn stats(&self) -> Result<Stats> {
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
        Ok(stats)
    }

    async fn forget(&self, key: &Key, note: &Note) -> Result<Tended> {
        let (now, row) = (self.now(), self.find(key));
        let may = match protocol::tendable(row.as_ref(), now) {
            Some(false) if self.has(Bug::ForgetTakesLive) => Some(true),
            Some(true) if self.has(Bug::ForgetSparesLapsed) => {
                Some(row.as_ref().is_some_and(|r| r.state != State::Claimed))
            }
            other => other,
        };
        if self.has(Bug::ForgetChecksThenActs) {
            tokio::task::yield_now().await;
        }
        let (Some(true), Some(row)) = (may, row) else {
            let always = self.has(Bug::ForgetAlwaysYes) && may.is_none();
            return Ok(if always { Tended::Yes } else { refused(may) });
        };
        note.audit("forget", key, row.state);
        match self.bug {
            Bug::ForgetKeepsAttempts => self.write(key, Row { state: State::Released, ..row }),
            Bug::ForgetRestartsFence => self.lock().retain(|(k, _)| k != key),
            _ => self.write(key, Row { expires: 0, ..row }),
        }
        Ok(Tended::Yes)
    }

    async fn redrive(&self, key: &Key, note: &Note) -> Result<Tended> {
        let (now, row) = (self.now(), self.find(key));
        let row = match row {
            None if self.has(Bug::RedriveMakesARecord) => Some(Row { state: State::Done, ..self.conjured() }),
            Some(row) if self.has(Bug::RedriveRevives) => Some(Row { expires: u64::MAX, ..row }),
            other => other,
        };
        let may = match protocol::tendable(row.as_ref(), now) {
            Some(false) if self.has(Bug::RedriveTakesLive) => Some(true),
            other => other,
        };
        if self.has(Bug::RedriveChecksThenActs) {
            tokio::task::yield_now().await;
        }
        let (Some(true), Some(row)) = (may, row) else { return Ok(refused(may)) };
        let settled = matches!(row.state, State::Done | State::Buried);
        let anyway = self.has(Bug::RedriveTakesReleased) || self.has(Bug::RedriveTakesLive);
        let row = if anyway && !settled { Row { state: State::Done, ..row } } else { row };
        let Some(new) = protocol::redriven(&row) else {
            return Ok(if self.has(Bug::RedriveAlwaysYes) { Tended::Yes } else { Tended::Nothing });
        };
        note.audit("redrive", key, row.state);
        let new = match self.bug {
            Bug::RedriveForgets => Row { expires: 0, ..new },
            Bug::RedriveKeepsAttempts => Row { attempt: row.attempt, ..new },
            Bug::RedriveKeepsOutcome => Row { outcome: row.outcome, reason: row.reason, ..new },
            Bug::RedriveLeavesLease => Row { state: State::Claimed, lease_ends: 0, ..new },
            _ => new,
        };
        self.write(key, new);
        Ok(Tended::Yes)
    }

    async fn sweep(&self) -> Result<u64> {
        let (now, mut rows) = (self.now(), self.lock());
        let before = rows.len();
        rows.retain(|(_, row)| match row.state {
            _ if self.has(Bug::SweepDoesNothing) => true,
            State::Claimed if self.has(Bug::SweepTakesLapsed) => now < row.lease_ends,
            State::Released if self.has(Bug::SweepTakesReleased) => false,
            _ => now < row.expires,
        });
        Ok((before - rows.len()) as u64)
    }
}

impl Sabotaged {
    fn entry(&self, key: &Key, row: &Row, now: u64) -> Entry {
        let left = |until: u64| Duration::from_micros(until.saturating_sub(now));
        let mut entry = Entry {
            digest: Bytes::copy_from_slice(key.digest()),
            scope: Some(key.scope().name().to_owned()),
            id: Some(key.id().clone()),
            record: row.record(now),
            expires_in: left(row.expires),
            lease_ends_in: left(row.lease_ends),
        };
        match self.bug {
            Bug::ListDropsOutcome => entry.record.outcome = None,
            Bug::ListSwapsTimes => std::mem::swap(&mut entry.expires_in, &mut entry.lease_ends_in),
            Bug::ListNamesWrong => entry.scope = Some("another".into()),
            _ => {}
        }
        entry
    }
}

fn refused(may: Option<bool>) -> Tended {
    if may == Some(false) { Tended::InFlight } else { Tended::Nothing }
}
