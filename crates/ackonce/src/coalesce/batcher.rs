//! Calls of one kind, and the task that makes trips of them.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use crate::dropping::{drop_in, poll_in};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

use super::answers::Answers;
use super::bisect::{TRIP_TIMEOUT, bisect, caught, check_count, no_answer, with_timeout};

/// The most requests that one trip carries, as far as into_result calls allow.
const MAX_TRIP: usize = 2000;
/// From this many requests on, a call travels alone: it is a batch already, and waiting for others or being copied
/// into a larger one would cost more than the trip it saves.
const MIN_OWN_TRIP: usize = 100;
/// Trips of each kind under way at once, beside those of calls that travel alone.
pub(super) const IN_FLIGHT: usize = 4;

/// Calls of one kind on their way to the task that makes trips of them.
pub(super) struct Batcher<Q, A> {
    calls: mpsc::UnboundedSender<Call<Q, A>>,
    /// The record that a request is about.
    key: fn(&Q) -> &Key,
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

impl<Q: Clone + Send + Sync + 'static, A: Send + 'static> Batcher<Q, A> {
    pub(super) fn start<F, Fut>(key: fn(&Q) -> &Key, trip: F) -> Self
    where
        F: Fn(Arc<Vec<Q>>, Range<usize>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<A>>> + Send + 'static,
    {
        let (calls, receiver) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        tokio::spawn(make_trips(receiver, permits.clone(), key, trip));
        Self { calls, key, permits, waits: AtomicBool::new(false) }
    }

    /// `trip` carries a part of `requests`; it is made if there is nothing to share one with.
    pub(super) async fn call<'a, F>(
        &'a self,
        requests: &'a [Q],
        trip: impl Fn(&'a [Q]) -> F,
    ) -> Result<Answers<A>>
    where
        F: Future<Output = Result<Vec<A>>>,
    {
        let is_shared = self.waits.load(Ordering::Relaxed) && requests.len() < MIN_OWN_TRIP;
        let permit = if is_shared { self.idle() } else { None };
        if is_shared && permit.is_none() {
            return self.share(requests.to_vec()).await;
        }
        let mut calling = pin!(Some(caught(trip(requests))));
        let answers = tokio::select! {
            biased;
            answers = poll_in(calling.as_mut()) => answers,
            () = self.trip_timeout() => Err(no_answer()),
        };
        drop_in(calling, "a store's call");
        match check_count(answers, requests.len()) {
            Ok(answers) => Ok(Answers::All(answers)),
            Err(error) => {
                let again = |part| with_timeout(trip(&requests[part]));
                let digest = |n: usize| *(self.key)(&requests[n]).digest();
                Box::pin(bisect(requests.len(), error, digest, again)).await.map(Answers::Separate)
            }
        }
    }

    /// Ready after the longest time of a trip. It is polled once a trip has to wait, which those to a store in memory
    /// never do.
    async fn trip_timeout(&self) {
        self.waits.store(true, Ordering::Relaxed);
        tokio::time::sleep(TRIP_TIMEOUT).await;
    }

    /// Leave to make a trip of one's own: while no other is under way there is nothing to share one with, and a
    /// task in between would only make it later.
    fn idle(&self) -> Option<SemaphorePermit<'_>> {
        if self.permits.available_permits() < IN_FLIGHT - 1 {
            return None;
        }
        self.permits.try_acquire().ok()
    }

    async fn share(&self, requests: Vec<Q>) -> Result<Answers<A>> {
        if requests.is_empty() {
            return Ok(Answers::All(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let gone = |_| Error::new(ErrorKind::Unavailable, "the runtime that carries store calls has ended");
        self.calls.send(Call { requests, reply }).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

async fn make_trips<Q, A, F, Fut>(
    mut calls: mpsc::UnboundedReceiver<Call<Q, A>>,
    permits: Arc<Semaphore>,
    key: fn(&Q) -> &Key,
    trip: F,
) where
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
            deliver(Arc::new(batch), replies, key, trip).await;
            drop(permit);
        });
    }
}

async fn deliver<Q, A, F, Fut>(
    batch: Arc<Vec<Q>>,
    replies: Vec<(Range<usize>, Reply<A>)>,
    key: fn(&Q) -> &Key,
    trip: F,
) where
    F: Fn(Arc<Vec<Q>>, Range<usize>) -> Fut,
    Fut: Future<Output = Result<Vec<A>>>,
{
    let len = batch.len();
    let trip = |part| with_timeout(trip(batch.clone(), part));
    let answers = match check_count(trip(0..len).await, len) {
        Ok(answers) => Ok(Answers::All(answers)),
        Err(error) => bisect(len, error, |n| *key(&batch[n]).digest(), trip).await.map(Answers::Separate),
    };
    // A caller that went away has an unknown outcome; nobody is left to tell.
    match answers {
        Ok(Answers::All(answers)) => {
            let mut answers = answers.into_iter();
            for (part, reply) in replies {
                let _ = reply.send(Ok(Answers::All(answers.by_ref().take(part.len()).collect())));
            }
        }
        Ok(Answers::Separate(answers)) => {
            let mut answers = answers.into_iter();
            for (part, reply) in replies {
                let _ = reply.send(Ok(Answers::Separate(answers.by_ref().take(part.len()).collect())));
            }
        }
        Err(error) => {
            for (_, reply) in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}
