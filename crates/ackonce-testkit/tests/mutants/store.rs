//! A tiny store on the protocol's own functions, with one bug.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ackonce::protocol::Row;
use ackonce::store::{ClaimRequest, Claimed, Description, Settle, Settled, Settlement, State};
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use ackonce_testkit::conformance::{Breakable, Fixture, Outage};
use async_trait::async_trait;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::bug::Bug;
use crate::failures::{Broken, is_too_large, too_large};
use crate::keys::stored_key;
use crate::{claims, settles};

#[derive(Default)]
struct Rows {
    by_key: HashMap<Vec<u8>, Row>,
    locked: HashSet<Vec<u8>>,
}

/// The fixture: a store whose clients may have clocks of their own.
pub(crate) struct Sabotaged {
    bug: Bug,
    rows: Arc<Mutex<Rows>>,
    start: Instant,
    opened: AtomicU64,
}

impl Sabotaged {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { bug, rows: Arc::default(), start: Instant::now(), opened: AtomicU64::new(0) }
    }

    fn client(&self, skew: u64) -> Client {
        let failure = Mutex::default();
        Client { bug: self.bug, rows: self.rows.clone(), start: self.start, skew, failure }
    }

    /// The records that survive a kill.
    fn restart(&self) {
        let rows = &mut self.rows.lock().unwrap().by_key;
        match self.bug {
            Bug::RestartForgets => rows.clear(),
            Bug::RestartForgetsClaims => rows.retain(|_, row| row.state != State::Claimed),
            Bug::RestartForgetsSettlements => rows.values_mut().for_each(|row| row.state = State::Claimed),
            _ => {}
        }
    }
}

#[async_trait]
impl Fixture for Sabotaged {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        let hour_ahead = self.opened.fetch_add(1, Ordering::Relaxed) % 2;
        let skew = if self.bug == Bug::CallersClock { hour_ahead * 3_600_000_000 } else { 0 };
        Arc::new(self.client(skew))
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        self.restart();
        Arc::new(self.client(0))
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        Box::new(Broken(Arc::new(self.client(0))))
    }

    fn impossible(&self) -> Option<Settle> {
        Some(too_large())
    }

    async fn held(&self) -> u64 {
        let now = self.client(0).now();
        let mut rows = self.rows.lock().unwrap();
        if self.bug != Bug::NothingIsDropped {
            rows.by_key.retain(|_, row| now < row.expires || now <= row.fence);
        }
        rows.by_key.len() as u64
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2".to_owned()]
    }
}

pub(crate) struct Client {
    pub(crate) bug: Bug,
    rows: Arc<Mutex<Rows>>,
    start: Instant,
    skew: u64,
    pub(crate) failure: Mutex<Option<Outage>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client")
    }
}

impl Client {
    fn now(&self) -> u64 {
        // Well after the epoch, as a wall clock is.
        let elapsed = u64::try_from(self.start.elapsed().as_micros()).unwrap();
        1_800_000_000_000_000 + elapsed + self.skew
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    fn row(&self, key: &[u8]) -> Option<Row> {
        self.rows().by_key.get(key).cloned()
    }

    /// Takes a lock of which nobody thinks when the future is dropped.
    async fn lock(&self, key: &[u8]) {
        while !self.rows().locked.insert(key.to_vec()) {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        for _ in 0..3 {
            yield_now().await;
        }
    }

    async fn claim_one(&self, seen: Option<Row>, key: Vec<u8>, request: &ClaimRequest) -> Claimed {
        if self.bug == Bug::ChecksThenActs {
            yield_now().await;
        }
        let (answer, change) = claims::claim(self.bug, seen.as_ref(), request, self.now());
        self.rows().by_key.extend(change.map(|row| (key, row)));
        answer
    }

    async fn settle_one(&self, seen: Option<Row>, settlement: &Settlement) -> Settled {
        if self.bug == Bug::ChecksThenActs {
            yield_now().await;
        }
        let (answer, change) = settles::settle(self.bug, seen.as_ref(), settlement, self.now());
        let key = stored_key(self.bug, &settlement.key);
        self.rows().by_key.extend(change.map(|row| (key, row)));
        answer
    }

    fn refuses(&self, keys: &[Vec<u8>]) -> bool {
        let distinct = || keys.iter().collect::<HashSet<_>>().len();
        match self.bug {
            Bug::LargeBatchFails => keys.len() > 999,
            Bug::EmptyBatchFails => keys.is_empty(),
            Bug::DuplicateFailsTheBatch => distinct() < keys.len(),
            _ => false,
        }
    }
}

#[async_trait]
impl Deduplicator for Client {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        if let Some(guess) = self.away(|| requests.iter().map(|request| self.guess(request)).collect()) {
            return guess;
        }
        let keys: Vec<_> = requests.iter().map(|r| stored_key(self.bug, &r.key)).collect();
        if self.refuses(&keys) {
            return Err(Error::new(ErrorKind::Invalid, "this batch is not supported"));
        }
        let before: Vec<_> = keys.iter().map(|key| self.row(key)).collect();
        let mut answers = Vec::new();
        for ((request, key), before) in requests.iter().zip(&keys).zip(before) {
            if self.bug == Bug::LockIsLeaked {
                self.lock(key).await;
            }
            let seen = if self.bug == Bug::BatchIsDecidedBefore { before } else { self.row(key) };
            let answer = self.claim_one(seen, key.clone(), request).await;
            self.rows().locked.remove(key);
            answers.push((key, answer));
        }
        match self.bug {
            Bug::AnswersInKeyOrder => answers.sort_by_key(|(key, _)| *key),
            Bug::AnswersOncePerKey => answers.dedup_by_key(|(key, _)| *key),
            _ => {}
        }
        self.reply(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if let Some(guess) = self.away(|| vec![Settled::Lost; settlements.len()]) {
            return guess;
        }
        if settlements.iter().any(|settlement| is_too_large(&settlement.action)) {
            return self.refused(settlements.len());
        }
        let keys: Vec<_> = settlements.iter().map(|s| stored_key(self.bug, &s.key)).collect();
        let before: Vec<_> = keys.iter().map(|key| self.row(key)).collect();
        let mut answers = Vec::new();
        for ((settlement, key), before) in settlements.iter().zip(&keys).zip(before) {
            if self.bug == Bug::SettleIsLeaked {
                self.lock(key).await;
            }
            let seen = if self.bug == Bug::SettlesAreDecidedBefore { before } else { self.row(key) };
            answers.push(self.settle_one(seen, settlement).await);
            self.rows().locked.remove(key);
        }
        self.reply(answers)
    }

    fn describe(&self) -> Description {
        let password = if self.bug == Bug::PasswordIsShown { ":hunter2" } else { "" };
        Description { name: format!("sabotaged://user{password}@host/0"), weaknesses: Vec::new() }
    }
}
