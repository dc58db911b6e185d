//! The in-memory store, with one bug on top.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::store::{
    AdminOutcome, Attempt, AuditEntry, ClaimRequest, Claimed, Description, Entry, Inspect, Lease, Note, Page,
    Query, Record, RecordTarget, ScopeStats, Settle, Settled, Settlement, Stats,
};
use ackonce::{Deduplicator, Key, MemoryStore, Previous, Result};
use async_trait::async_trait;

/// One deviation from the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing is wrong.
    None,
    /// A held key is answered as a done one.
    BusyIsDone,
    /// A settlement that was fenced off is confirmed.
    LostIsConfirmed,
    /// A refunded attempt counts.
    RefundCounts,
    /// Saved progress is confirmed and not kept.
    ProgressIsDropped,
    /// A client remembers done messages by itself, and does not hear of a redrive by another.
    StaleDone,
    /// A forgotten record is still there.
    ForgetReopensNothing,
    /// A listed record is changed although it has changed since.
    RedriveMissesChange,
    /// Of two claims at the same time both are granted.
    TwoAtOnce,
    /// A page repeats its first record.
    ListedTwice,
    /// A page drops its first record.
    NotListed,
}

pub(crate) struct Sabotaged {
    pub(crate) bug: Bug,
    store: MemoryStore,
    claiming: Arc<AtomicUsize>,
}

impl Sabotaged {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { bug, store: MemoryStore::new(), claiming: Arc::default() }
    }

    pub(crate) fn client(&self) -> Arc<dyn Inspect> {
        let (store, claiming) = (self.store.clone(), self.claiming.clone());
        Arc::new(Client { bug: self.bug, store, claiming, done: Mutex::default() })
    }
}

#[derive(Debug)]
struct Client {
    bug: Bug,
    store: MemoryStore,
    claiming: Arc<AtomicUsize>,
    done: Mutex<HashMap<[u8; 32], Record>>,
}

impl Client {
    async fn spoilt(&self, request: &ClaimRequest, answer: Claimed) -> Result<Claimed> {
        let digest = *request.key.digest();
        if self.bug == Bug::StaleDone {
            if let Claimed::Done(record) = &answer {
                self.done.lock().unwrap().insert(digest, record.clone());
            } else if let Some(record) = self.done.lock().unwrap().get(&digest) {
                return Ok(Claimed::Done(record.clone()));
            }
        }
        let (Claimed::Busy { .. }, Some(entry)) = (&answer, self.store.look(&request.key).await?) else {
            return Ok(answer);
        };
        Ok(match self.bug {
            Bug::BusyIsDone => Claimed::Done(entry.record),
            Bug::TwoAtOnce if self.claiming.load(Ordering::SeqCst) > 1 => Claimed::Acquired(Lease {
                key: request.key.clone(),
                token: request.token,
                fence: entry.record.fence + 1,
                attempt: 1,
                previous: Previous::None,
                progress: None,
            }),
            _ => answer,
        })
    }

    fn spoilt_action(&self, action: &Settle) -> Settle {
        match (self.bug, action) {
            (Bug::RefundCounts, Settle::Release { window, not_before, .. }) => {
                Settle::Release { attempt: Attempt::Counts, window: *window, not_before: *not_before }
            }
            (Bug::ProgressIsDropped, Settle::Save { .. }) => Settle::Save { progress: Vec::new().into() },
            _ => action.clone(),
        }
    }
}

#[async_trait]
impl Deduplicator for Client {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.claiming.fetch_add(1, Ordering::SeqCst);
        if self.bug == Bug::TwoAtOnce {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut answers = Vec::new();
        for (request, answer) in requests.iter().zip(self.store.claim(requests).await?) {
            answers.push(self.spoilt(request, answer).await?);
        }
        self.claiming.fetch_sub(1, Ordering::SeqCst);
        Ok(answers)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let spoilt = |s: &Settlement| Settlement { action: self.spoilt_action(&s.action), ..s.clone() };
        let settlements: Vec<_> = settlements.iter().map(spoilt).collect();
        let mut answers = self.store.settle(&settlements).await?;
        if self.bug == Bug::LostIsConfirmed {
            answers.fill(Settled::Yes);
        }
        Ok(answers)
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

#[async_trait]
impl Inspect for Client {
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        self.store.look(key).await
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let mut page = self.store.list(query).await?;
        match (self.bug, page.entries.first().cloned()) {
            (Bug::ListedTwice, Some(first)) => page.entries.push(first),
            (Bug::NotListed, Some(_)) => drop(page.entries.remove(0)),
            _ => {}
        }
        Ok(page)
    }

    async fn stats(&self) -> Result<Stats> {
        self.store.stats().await
    }

    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        self.store.scopes().await
    }

    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>> {
        self.store.audit(key).await
    }

    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        match (self.bug, target) {
            (Bug::ForgetReopensNothing, RecordTarget::Key(key)) if self.store.look(key).await?.is_some() => {
                Ok(AdminOutcome::Yes)
            }
            _ => self.store.forget(target, note).await,
        }
    }

    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        let now = match (self.bug, target) {
            (Bug::RedriveMissesChange, RecordTarget::Listed(entry)) => {
                let query = Query { filter: Default::default(), limit: usize::MAX, after: None };
                let page = self.store.list(&query).await?;
                page.entries.into_iter().find(|now| now.digest == entry.digest)
            }
            _ => None,
        };
        self.store.redrive(now.as_ref().map_or(target, RecordTarget::Listed), note).await
    }

    async fn sweep(&self) -> Result<u64> {
        self.store.sweep().await
    }
}
