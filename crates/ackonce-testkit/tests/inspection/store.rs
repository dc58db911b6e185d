//! A tiny store that can be inspected, on the protocol's own functions, with one bug.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use ackonce::protocol::{self, Row};
use ackonce::store::{
    AdminOutcome, AuditEntry, ClaimRequest, Claimed, Description, Entry, Inspect, Note, Page, Query,
    RecordTarget, ScopeStats, Settled, Settlement, State, Stats, Token,
};
use ackonce::{Deduplicator, Key, Previous, Result};
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;
use tokio::time::Instant;

use crate::bug::Bug;

/// Records in the order they came.
type Rows = Vec<(Key, Row)>;

/// A change by hand: its key, the moment, and its entry.
pub(crate) type Change = (Key, u64, AuditEntry);

#[derive(Clone)]
pub(crate) struct Sabotaged {
    pub(crate) bug: Bug,
    start: Instant,
    rows: Arc<Mutex<Rows>>,
    pub(crate) changes: Arc<Mutex<Vec<Change>>>,
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
        Self { bug, start: Instant::now(), rows: Arc::default(), changes: Arc::default() }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    pub(crate) fn now(&self) -> u64 {
        1_000_000_000 + u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Row> {
        let same = |k: &Key| if self.has(Bug::FindsByIdAlone) { k.id() == key.id() } else { k == key };
        self.lock().iter().find(|(k, _)| same(k)).map(|(_, row)| row.clone())
    }

    pub(crate) fn write(&self, key: &Key, row: Row) {
        let mut rows = self.lock();
        match rows.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = row,
            None => rows.push((key.clone(), row)),
        }
    }

    /// A row that no claim wrote.
    pub(crate) fn conjured(&self) -> Row {
        Row {
            state: State::Released,
            token: Token::random(),
            fence: self.now(),
            claimed: self.now(),
            attempt: 1,
            previous: Previous::Released,
            fingerprint: None,
            free_at: 0,
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
            if let Some(row) = change {
                self.write(&request.key, row);
            }
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
            if let Some(row) = change {
                self.write(&settlement.key, row);
            }
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
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(self.shown(key))
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        self.page(query)
    }

    async fn stats(&self) -> Result<Stats> {
        Ok(self.count())
    }

    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        Ok(self.by_scope())
    }

    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>> {
        Ok(self.trail(key))
    }

    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        Ok(self.drop_one(target, note).await)
    }

    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        Ok(self.rerun(target, note).await)
    }

    async fn sweep(&self) -> Result<u64> {
        Ok(self.drop_expired())
    }
}
