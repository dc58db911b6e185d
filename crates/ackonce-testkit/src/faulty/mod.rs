//! A store that fails on purpose: before a call is applied, after it, late, or never.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ackonce::store::{ClaimRequest, Claimed, Description, Repeat, Settled, Settlement};
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use async_trait::async_trait;

use crate::seed::Dice;

mod fault;

pub use fault::{Fault, Injected, Rates};

/// A store in front of a store, with faults: by a script if it has one, otherwise by seed and rates.
///
/// With the same seed, the n-th call meets the same fault; the caller that makes the n-th call is up to
/// the scheduler, unless the test runs on one thread. It keeps the contract except for its faults, so a program that
/// uses it must still lose nothing.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Deduplicator, MemoryStore};
/// use ackonce::store::Repeat;
/// use ackonce_testkit::{Fault, FaultyStore};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = FaultyStore::scripted(Arc::new(MemoryStore::new()), [None, Some(Fault::ReplyLost)]);
/// assert!(store.claim(&[]).await.is_ok());
/// assert_eq!(store.claim(&[]).await.unwrap_err().repeat(), Repeat::Unknown);
/// # });
/// ```
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Deduplicator>,
    rates: Rates,
    paused: AtomicBool,
    state: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    dice: Dice,
    script: VecDeque<Option<Fault>>,
    injected: Injected,
}

impl FaultyStore {
    /// Faults by chance, decided by the seed.
    #[must_use]
    pub fn new(inner: Arc<dyn Deduplicator>, seed: u64, rates: Rates) -> Self {
        let state = Plan { dice: Dice::new(seed), script: VecDeque::new(), injected: Injected::default() };
        Self { inner, rates, paused: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Exactly these faults, one per call (`None`: none), and none after them.
    #[must_use]
    pub fn scripted(
        inner: Arc<dyn Deduplicator>,
        faults: impl IntoIterator<Item = impl Into<Option<Fault>>>,
    ) -> Self {
        let store = Self::new(inner, 0, Rates::default());
        store.script(faults);
        store
    }

    /// Adds to the script: the next calls meet these faults before chance has its turn again.
    pub fn script(&self, faults: impl IntoIterator<Item = impl Into<Option<Fault>>>) {
        self.state().script.extend(faults.into_iter().map(Into::into));
    }

    /// Makes every call fail with [`ErrorKind::Unavailable`], nothing applied, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// The number of faults injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.state().injected.clone()
    }

    fn state(&self) -> MutexGuard<'_, Plan> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of the next call, counted.
    fn next(&self) -> Option<Fault> {
        let paused = self.paused.load(Ordering::SeqCst);
        let mut state = self.state();
        state.injected.calls += 1;
        if paused {
            state.injected.while_paused += 1;
            return Some(Fault::Refused);
        }
        let fault = match state.script.pop_front() {
            Some(fault) => fault,
            None => self.rates.pick(&mut state.dice),
        };
        state.injected.count(fault);
        fault
    }

    /// The store's future is not polled before the fault allows it: until then nothing is applied.
    async fn meet<T, F>(&self, call: F) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.next() {
            None => call.await,
            Some(Fault::AppliedLate(delay)) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    call.await.map(drop)
                });
                Err(unavailable("the request is late"))
            }
            Some(Fault::Slow(delay)) => {
                let answer = call.await;
                tokio::time::sleep(delay).await;
                answer
            }
            Some(Fault::Refused) => Err(unavailable("refused").with_repeat(Repeat::Safe)),
            Some(Fault::RequestLost) => Err(unavailable("the request was lost")),
            // The store's own error is as good as the fault.
            Some(Fault::ReplyLost) => call.await.and_then(|_| Err(unavailable("the reply was lost"))),
            Some(Fault::NeverApplied) => pending().await,
            Some(Fault::NeverAnswered) => {
                // Held, not dropped: a dropped future would tell the store that its caller is gone.
                let _answer = call.await;
                pending().await
            }
        }
    }
}

fn unavailable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("injected fault: {what}")).with_repeat(Repeat::Unknown)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Deduplicator for FaultyStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let (inner, requests) = (self.inner.clone(), requests.to_vec());
        self.meet(async move { inner.claim(&requests).await }).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let (inner, settlements) = (self.inner.clone(), settlements.to_vec());
        self.meet(async move { inner.settle(&settlements).await }).await
    }

    fn describe(&self) -> Description {
        let mut description = self.inner.describe();
        description.name.push_str(", failing on purpose");
        description
    }
}
