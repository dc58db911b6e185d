//! A store whose replies can be scripted, and a delivery that is a number.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

pub mod consumption;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Stage};
use ackonce::store::{ClaimRequest, Claimed, Description, Settle, Settled, Settlement};
use ackonce::{Backoff, Deduplicator, Error, ErrorKind, MemoryStore, Result, Scope, Settings};
use async_trait::async_trait;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    ErrorBefore,
    /// Applied, reply lost.
    ErrorAfter,
    Never,
    Refuse,
}

/// The in-memory store behind a script of faults for claims and one for settles (heartbeats included).
#[derive(Debug, Default, Clone)]
pub struct Scripted {
    pub store: MemoryStore,
    pub claims: Arc<Mutex<VecDeque<Fault>>>,
    pub settles: Arc<Mutex<VecDeque<Fault>>>,
    /// While set, every settle fails.
    pub settles_down: Arc<AtomicBool>,
    /// The longest outcome it keeps, if there is a limit.
    pub longest: Option<usize>,
    /// IDs that it cannot claim.
    pub unclaimable: Vec<u64>,
    /// An ID whose record is locked, and how many settlements of it come too early.
    pub locked: Arc<Mutex<Option<(u64, usize)>>>,
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "scripted")
}

async fn apply<T>(fault: Option<Fault>, call: impl Future<Output = Result<T>>) -> Result<T> {
    match fault {
        None => call.await,
        Some(Fault::ErrorBefore) => Err(error(ErrorKind::Unavailable)),
        Some(Fault::ErrorAfter) => call.await.and(Err(error(ErrorKind::Timeout))),
        Some(Fault::Never) => std::future::pending().await,
        Some(Fault::Refuse) => Err(error(ErrorKind::Config)),
    }
}

#[async_trait]
impl Deduplicator for Scripted {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let keys: Vec<_> = self.unclaimable.iter().map(|n| scope().key(n.to_string()).unwrap()).collect();
        if requests.iter().any(|request| keys.contains(&request.key)) {
            return Err(error(ErrorKind::Invalid));
        }
        let fault = self.claims.lock().unwrap().pop_front();
        apply(fault, self.store.claim(requests)).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let too_long = |s: &Settlement| match &s.action {
            Settle::Complete { outcome: Some(outcome), .. } => {
                self.longest.is_some_and(|n| outcome.len() > n)
            }
            Settle::Bury { reason, .. } => self.longest.is_some_and(|n| reason.len() > n),
            _ => false,
        };
        if settlements.iter().any(too_long) {
            return Err(error(ErrorKind::Invalid));
        }
        if let Some((n, left)) = &mut *self.locked.lock().unwrap()
            && *left > 0
            && settlements.iter().any(|s| s.key == scope().key(n.to_string()).unwrap())
        {
            *left -= 1;
            return Err(error(ErrorKind::Locked));
        }
        let fault = match self.settles_down.load(Ordering::SeqCst) {
            true => Some(Fault::ErrorBefore),
            false => self.settles.lock().unwrap().pop_front(),
        };
        apply(fault, self.store.settle(settlements)).await
    }
    fn describe(&self) -> Description {
        self.store.describe()
    }
}

#[derive(Debug, Clone)]
pub struct Number {
    pub n: u64,
    pub current: Arc<AtomicBool>,
    /// What it was told, in order.
    pub stages: Arc<Mutex<Vec<Stage>>>,
}

impl Delivery for Number {
    type Message = u64;
    fn message(&self) -> u64 {
        self.n
    }
    fn is_current(&self) -> bool {
        self.current.load(Ordering::SeqCst)
    }
    fn note(&self, stage: Stage) {
        self.stages.lock().unwrap().push(stage);
    }
}

/// The in-memory store, whose answer to one claim, counted from 0, comes late.
#[derive(Debug)]
pub struct Late {
    pub store: MemoryStore,
    claims: AtomicU32,
    late: u32,
    by: Duration,
}

impl Late {
    pub fn new(late: u32, by: Duration) -> Self {
        Self { store: MemoryStore::new(), claims: AtomicU32::new(0), late, by }
    }
}

#[async_trait]
impl Deduplicator for Late {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let answers = self.store.claim(requests).await;
        if self.claims.fetch_add(1, Ordering::SeqCst) == self.late {
            tokio::time::sleep(self.by).await;
        }
        answers
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.store.settle(settlements).await
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

pub fn scope() -> Scope {
    Scope::new("test").unwrap()
}

pub fn delivery(n: u64) -> Number {
    Number { n, current: Arc::new(AtomicBool::new(true)), stages: Arc::default() }
}

pub fn job(n: u64) -> Job<Number> {
    Job::new(scope().key(n.to_string()).unwrap(), delivery(n))
}

/// Short back-offs; a lease long enough that no test loses it by a slow machine.
pub fn settings() -> Settings {
    Settings::default()
        .with_lease(Duration::from_secs(20))
        .with_backoff(Backoff { min: Duration::from_millis(1), max: Duration::from_millis(5) })
}

pub fn claim_request(n: u64, lease: Duration) -> ClaimRequest {
    ClaimRequest {
        key: scope().key(n.to_string()).unwrap(),
        token: ackonce::store::Token::random(),
        lease,
        window: Duration::from_secs(3600),
        fingerprint: None,
    }
}
