//! Group commit, written once for every store: concurrent calls become one trip.
//!
//! While the trips that may be in flight are under way, calls pile up; the next trip takes them all. At a
//! trickle a call waits for nobody, under load batches grow by themselves. There is no timer to tune.
#![allow(clippy::manual_async_fn, reason = "an `async fn` holds its arguments twice")]

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::vec;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use crate::claim::{ClaimRequest, Claimed};
use crate::deduplicator::{Deduplicator, Description};
use crate::error::{Error, ErrorKind, Repeat, Result};
use crate::settle::{Settled, Settlement};

/// The most requests that one trip carries, as far as whole calls allow.
const MAX_TRIP: usize = 2000;
/// From this many requests on, a call travels alone: it is a batch already, and waiting for others or being copied
/// into a larger one would cost more than the trip it saves.
const A_TRIP: usize = 100;
/// Trips of each kind under way at once, beside those of calls that travel alone.
const IN_FLIGHT: usize = 4;
/// A trip that takes longer is given up, its outcome unknown: a store that never answers would keep it, and all that
/// wait for a place, for ever. Stores have time-outs of their own, which are shorter.
const LONGEST: Duration = Duration::from_secs(60);

/// A store in front of a store, that turns concurrent calls into batches.
///
/// Of a caller that stops waiting the outcome is unknown, as after a lost reply. A call that is not answered within a
/// minute ends with [`ErrorKind::Timeout`].
pub struct Coalesce {
    store: Arc<dyn Deduplicator>,
    claims: Pump<ClaimRequest, Claimed>,
    settles: Pump<Settlement, Settled>,
}

/// Calls of one kind on their way to the task that makes trips of them.
struct Pump<Q, A> {
    calls: mpsc::UnboundedSender<Call<Q, A>>,
    /// One for each trip that may be under way; while none is, the task holds one, ready for the next.
    permits: Arc<Semaphore>,
    /// True if a trip ever had to wait. A store that answers at once leaves nothing to share a trip with.
    waits: AtomicBool,
}

struct Call<Q, A> {
    requests: Vec<Q>,
    reply: Reply<A>,
}

type Reply<A> = oneshot::Sender<Result<Answers<A>>>;

/// The answers of one trip, in order.
pub(crate) enum Answers<A> {
    All(Vec<A>),
    /// Some requests cannot be carried out: their errors are theirs alone.
    Apart(Vec<Result<A>>),
}

impl<A> Answers<A> {
    fn whole(self) -> Result<Vec<A>> {
        match self {
            Self::All(answers) => Ok(answers),
            Self::Apart(answers) => answers.into_iter().collect(),
        }
    }
}

impl<A> IntoIterator for Answers<A> {
    type Item = Result<A>;
    type IntoIter = OneByOne<A>;

    fn into_iter(self) -> OneByOne<A> {
        match self {
            Self::All(answers) => OneByOne::All(answers.into_iter()),
            Self::Apart(answers) => OneByOne::Apart(answers.into_iter()),
        }
    }
}

pub(crate) enum OneByOne<A> {
    All(vec::IntoIter<A>),
    Apart(vec::IntoIter<Result<A>>),
}

impl<A> Iterator for OneByOne<A> {
    type Item = Result<A>;

    fn next(&mut self) -> Option<Result<A>> {
        match self {
            Self::All(answers) => answers.next().map(Ok),
            Self::Apart(answers) => answers.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::All(answers) => answers.size_hint(),
            Self::Apart(answers) => answers.size_hint(),
        }
    }
}

impl Coalesce {
    /// Starts coalescing calls to `store`, on two tasks of the current tokio runtime that end with it.
    ///
    /// # Panics
    /// Outside a tokio runtime; a call, on a runtime without time.
    #[must_use]
    pub fn new(store: Arc<dyn Deduplicator>) -> Self {
        let to = store.clone();
        let claims = Pump::start(move |batch: Arc<Vec<ClaimRequest>>, part: Range<usize>| {
            let to = to.clone();
            async move { to.claim(&batch[part]).await }
        });
        let to = store.clone();
        let settles = Pump::start(move |batch: Arc<Vec<Settlement>>, part: Range<usize>| {
            let to = to.clone();
            async move { to.settle(&batch[part]).await }
        });
        Self { store, claims, settles }
    }
}

/// The trait's functions for a caller that has the type itself: one boxed future less.
impl Coalesce {
    pub(crate) fn claim_unboxed<'a>(
        &'a self,
        requests: &'a [ClaimRequest],
    ) -> impl Future<Output = Result<Answers<Claimed>>> + Send {
        // Not through `Arc`, which is a store as well.
        self.claims.go(requests, |part| self.store.as_ref().claim(part))
    }

    pub(crate) fn settle_unboxed<'a>(
        &'a self,
        settlements: &'a [Settlement],
    ) -> impl Future<Output = Result<Answers<Settled>>> + Send {
        self.settles.go(settlements, |part| self.store.as_ref().settle(part))
    }
}

impl fmt::Debug for Coalesce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Coalesce").field(&self.store).finish()
    }
}

#[async_trait]
impl Deduplicator for Coalesce {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.claim_unboxed(requests).await?.whole()
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.settle_unboxed(settlements).await?.whole()
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

impl<Q: Clone + Send + Sync + 'static, A: Send + 'static> Pump<Q, A> {
    fn start<F, Fut>(trip: F) -> Self
    where
        F: Fn(Arc<Vec<Q>>, Range<usize>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<A>>> + Send + 'static,
    {
        let (calls, receiver) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        tokio::spawn(pump(receiver, permits.clone(), trip));
        Self { calls, permits, waits: AtomicBool::new(false) }
    }

    /// `trip` carries a part of `requests`; it is made if there is nothing to share one with.
    fn go<'a, F>(
        &'a self,
        requests: &'a [Q],
        trip: impl Fn(&'a [Q]) -> F + Send + Sync + 'a,
    ) -> impl Future<Output = Result<Answers<A>>> + Send
    where
        F: Future<Output = Result<Vec<A>>> + Send,
    {
        async move {
            let mut _permit = None;
            if self.waits.load(Ordering::Relaxed) && requests.len() < A_TRIP {
                _permit = self.idle();
                if _permit.is_none() {
                    return Box::pin(self.call(requests.to_vec())).await;
                }
            }
            let answers = {
                let mut trip = pin!(trip(requests));
                // Most stores that are waited for are not waited for here, and those in memory never.
                let mut late = None;
                poll_fn(|cx| {
                    let answers = trip.as_mut().poll(cx);
                    if answers.is_ready() {
                        return answers;
                    }
                    self.waits.store(true, Ordering::Relaxed);
                    let late = late.get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST)));
                    late.as_mut().poll(cx).map(|()| Err(no_answer()))
                })
                .await
            };
            match checked(answers, requests.len()) {
                Ok(answers) => Ok(Answers::All(answers)),
                Err(error) => {
                    let again = |part| limited(trip(&requests[part]));
                    Box::pin(apart(requests.len(), error, again)).await.map(Answers::Apart)
                }
            }
        }
    }

    /// Leave to make a trip of one's own: while no other is under way there is nothing to share one with, and a
    /// task in between would only make it later.
    fn idle(&self) -> Option<SemaphorePermit<'_>> {
        if self.permits.available_permits() < IN_FLIGHT - 1 {
            return None;
        }
        self.permits.try_acquire().ok()
    }

    async fn call(&self, requests: Vec<Q>) -> Result<Answers<A>> {
        if requests.is_empty() {
            return Ok(Answers::All(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let gone = |_| Error::new(ErrorKind::Unavailable, "the runtime that carries store calls has ended");
        self.calls.send(Call { requests, reply }).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

async fn pump<Q, A, F, Fut>(mut calls: mpsc::UnboundedReceiver<Call<Q, A>>, permits: Arc<Semaphore>, trip: F)
where
    Q: Send + Sync + 'static,
    A: Send + 'static,
    F: Fn(Arc<Vec<Q>>, Range<usize>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<A>>> + Send,
{
    while let Ok(permit) = permits.clone().acquire_owned().await {
        // The permit comes first: calls that arrive while all trips are under way travel together.
        let Some(first) = calls.recv().await else { return };
        let mut batch = first.requests;
        let mut replies = vec![(0..batch.len(), first.reply)];
        while batch.len() < MAX_TRIP
            && let Ok(next) = calls.try_recv()
        {
            let start = batch.len();
            batch.extend(next.requests);
            replies.push((start..batch.len(), next.reply));
        }
        let trip = trip.clone();
        tokio::spawn(async move {
            deliver(Arc::new(batch), replies, trip).await;
            drop(permit);
        });
    }
}

async fn deliver<Q, A, F, Fut>(batch: Arc<Vec<Q>>, replies: Vec<(Range<usize>, Reply<A>)>, trip: F)
where
    F: Fn(Arc<Vec<Q>>, Range<usize>) -> Fut,
    Fut: Future<Output = Result<Vec<A>>>,
{
    let len = batch.len();
    let trip = |part| limited(trip(batch.clone(), part));
    let answers = match checked(trip(0..len).await, len) {
        Ok(answers) => Ok(Answers::All(answers)),
        Err(error) => apart(len, error, trip).await.map(Answers::Apart),
    };
    // A caller that went away has an unknown outcome; nobody is left to tell.
    match answers {
        Ok(Answers::All(answers)) => {
            let mut answers = answers.into_iter();
            for (part, reply) in replies {
                let _ = reply.send(Ok(Answers::All(answers.by_ref().take(part.len()).collect())));
            }
        }
        Ok(Answers::Apart(answers)) => {
            let mut answers = answers.into_iter();
            for (part, reply) in replies {
                let _ = reply.send(Ok(Answers::Apart(answers.by_ref().take(part.len()).collect())));
            }
        }
        Err(error) => {
            for (_, reply) in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

async fn limited<A>(trip: impl Future<Output = Result<A>>) -> Result<A> {
    tokio::time::timeout(LONGEST, trip).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "the store did not answer within a minute")
}

/// After a trip of `len` requests that failed with `error`: one request that cannot be carried out (an outcome over
/// the store's limit, a record that another transaction holds) must not end its neighbours, so the trip is halved until
/// that request is alone.
///
/// Requests carry their tokens, so that those which did go through may be sent again.
///
/// # Errors
/// Any error that says nothing about a single request; `error` itself if it is one.
pub(crate) async fn apart<A, Fut>(
    len: usize,
    error: Error,
    trip: impl Fn(Range<usize>) -> Fut,
) -> Result<Vec<Result<A>>>
where
    Fut: Future<Output = Result<Vec<A>>>,
{
    if !is_of_one_request(&error) {
        return Err(error);
    }
    if len == 1 {
        return Ok(vec![Err(error)]);
    }
    let mut answers = Vec::with_capacity(len);
    // The next part is the last one.
    let mut parts = vec![len / 2..len, 0..len / 2];
    while let Some(part) = parts.pop() {
        let middle = part.start + part.len() / 2;
        match checked(trip(part.clone()).await, part.len()) {
            Ok(all) => answers.extend(all.into_iter().map(Ok)),
            Err(error) if !is_of_one_request(&error) => return Err(error),
            Err(error) if part.len() == 1 => answers.push(Err(error)),
            Err(_) => parts.extend([middle..part.end, part.start..middle]),
        }
    }
    Ok(answers)
}

fn is_of_one_request(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Invalid => error.repeat() == Repeat::Never,
        ErrorKind::Locked => true,
        _ => false,
    }
}

fn checked<A>(answers: Result<Vec<A>>, expected: usize) -> Result<Vec<A>> {
    let answers = answers?;
    if answers.len() == expected {
        return Ok(answers);
    }
    Err(Error::new(ErrorKind::Protocol, "the store gave another number of answers than requests"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::claim::Token;
    use crate::key::Scope;
    use crate::memory::MemoryStore;
    use crate::store::DeduplicatorExt;

    #[derive(Debug, Default)]
    struct Counting(MemoryStore, AtomicUsize);

    #[async_trait]
    impl Deduplicator for Counting {
        async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            if requests.iter().any(|r| r.key.id() == "impossible") {
                return Err(Error::new(ErrorKind::Invalid, "impossible"));
            }
            if requests.iter().any(|r| r.key.id() == "bad") {
                return Err(Error::new(ErrorKind::Unavailable, "down"));
            }
            self.0.claim(requests).await
        }
        async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
            self.0.settle(settlements).await
        }
        fn describe(&self) -> Description {
            self.0.describe()
        }
    }

    fn request(id: &str) -> ClaimRequest {
        ClaimRequest {
            key: Scope::new("s").unwrap().key(id.to_owned()).unwrap(),
            token: Token::random(),
            lease: Duration::from_secs(9),
            window: Duration::from_secs(9),
            fingerprint: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_share_trips_and_get_their_own_answers() {
        let counting = Arc::new(Counting::default());
        let store = Coalesce::new(counting.clone());
        let calls = (0..100).map(|n| store.claim_one(request(&(n / 2).to_string())));
        let answers = join_all(calls).await;
        let won = answers.iter().filter(|a| matches!(a, Ok(Claimed::Acquired(_)))).count();
        assert_eq!(won, 50, "each of 50 keys once");
        assert!(counting.1.load(Ordering::Relaxed) <= IN_FLIGHT + 1);
    }

    #[tokio::test]
    async fn an_impossible_request_fails_alone() {
        let store = Coalesce::new(Arc::new(Counting::default()));
        let calls = ["1", "2", "impossible", "3"].map(|id| store.claim_one(request(id)));
        let answers = join_all(calls).await;
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    }

    #[tokio::test]
    async fn impossible_requests_of_one_call_fail_alone() {
        let store = Coalesce::new(Arc::new(Counting::default()));
        for ids in [vec!["impossible"], vec!["1", "impossible", "2", "3", "impossible"]] {
            let requests: Vec<_> = ids.iter().map(|id| request(id)).collect();
            let answers = store.claim_unboxed(&requests).await.unwrap();
            let fits: Vec<_> = answers.into_iter().map(|a| matches!(a, Ok(Claimed::Acquired(_)))).collect();
            assert_eq!(fits, ids.iter().map(|id| *id != "impossible").collect::<Vec<_>>());
            assert_eq!(store.claim(&requests).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[tokio::test]
    async fn an_outage_while_a_trip_is_split_is_nobodys_fault() {
        let store = Coalesce::new(Arc::new(Counting::default()));
        let requests = ["impossible", "1", "bad"].map(request);
        // "bad" comes last: it is an outage from the first trip on, or while the rest is being split.
        for of in [&requests[..], &requests[1..]] {
            let error = store.claim_unboxed(of).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }

    /// Never answers.
    #[derive(Debug)]
    struct Silent;

    #[async_trait]
    impl Deduplicator for Silent {
        async fn claim(&self, _: &[ClaimRequest]) -> Result<Vec<Claimed>> {
            std::future::pending().await
        }
        async fn settle(&self, _: &[Settlement]) -> Result<Vec<Settled>> {
            std::future::pending().await
        }
        fn describe(&self) -> Description {
            Description { name: "silent".into(), weaknesses: Vec::new() }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_keeps_nobody_for_ever() {
        let store = Coalesce::new(Arc::new(Silent));
        let calls = (0..50).map(|n| store.claim_one(request(&n.to_string())));
        for answer in join_all(calls).await {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
        }
    }

    #[tokio::test]
    async fn an_error_reaches_everyone_in_its_trip() {
        let store = Coalesce::new(Arc::new(Counting::default()));
        let error = store.claim_one(request("bad")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(store.claim(&[]).await.unwrap().is_empty());
    }
}
