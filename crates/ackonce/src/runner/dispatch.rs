//! From a stream of chunks to handlers: claims ahead, lanes in order, lanes side by side.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::ticket::Why;
use crate::{
    Class, Delivery, Error, ErrorKind, Handler, Job, OnUnknown, Previous, Receipt, Result, Ticket, Unsettled,
};

use super::Inner;
use super::admit::Admission;
use super::conclude::Next;

/// A job and the lane it belongs to; jobs of one lane run in order. Without a lane it waits for nobody.
#[derive(Debug)]
pub struct Laned<D> {
    /// What must keep its order: a partition, a record key's hash.
    pub lane: Option<u64>,
    /// The job.
    pub job: Job<D>,
}

/// How messages are given to the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// One at a time, lanes side by side.
    Each,
    /// A claimed chunk at once. Order holds within and across chunks, but for messages that are retried.
    Batches,
}

type Outcome<D> = std::result::Result<Receipt<D>, Unsettled<D>>;

/// What one task ends with.
enum Ended<D> {
    /// One delivery of a lane.
    One(Option<u64>, Outcome<D>),
    /// A batch; some of it may have to go on alone.
    Batch(Vec<Next<D>>),
}

pub(super) async fn consume<D, H, F>(
    inner: Arc<Inner<D, H>>,
    mut input: mpsc::Receiver<Vec<Laned<D>>>,
    feed: Feed,
    done: F,
) -> Result<()>
where
    D: Delivery,
    H: Handler<D::Message>,
    F: Fn(Outcome<D>) + Send + Sync + 'static,
{
    // One chunk waits claimed while the present one runs.
    let (ready, mut admitted) = mpsc::channel(1);
    let admitter = inner.clone();
    let admitting = tokio::spawn(async move {
        while let Some(chunk) = next_chunk(&mut input, admitter.settings.chunk).await {
            admitter.meters.delivered.add(chunk.len() as u64);
            let (lanes, jobs): (Vec<_>, Vec<_>) = chunk.into_iter().map(|l| (l.lane, l.job)).unzip();
            let admissions = admitter.admit(jobs).await;
            if ready.send(lanes.into_iter().zip(admissions).collect::<Vec<_>>()).await.is_err() {
                return;
            }
        }
    });
    let mut desk = Desk {
        inner,
        feed,
        done,
        lanes: HashMap::new(),
        waiting: 0,
        tasks: JoinSet::new(),
        batching: false,
        fatal: None,
    };
    let mut abort = pin!(drain_over(desk.inner.clone()));
    let mut open = true;
    while open || !desk.tasks.is_empty() {
        tokio::select! {
            biased;
            () = &mut abort, if !desk.inner.abort.is_cancelled() => desk.inner.abort.cancel(),
            Some(ended) = desk.tasks.join_next() => desk.ended(ended),
            chunk = admitted.recv(), if open && desk.has_room() => match chunk {
                Some(chunk) => desk.take(chunk).await,
                None => open = false,
            },
        }
    }
    if admitting.await.is_err() {
        desk.fatal.get_or_insert_with(|| broken("claiming"));
    }
    desk.fatal.map_or(Ok(()), Err)
}

/// Whatever has arrived, up to `most`, as whole chunks.
async fn next_chunk<D>(input: &mut mpsc::Receiver<Vec<Laned<D>>>, most: usize) -> Option<Vec<Laned<D>>> {
    let mut chunk = input.recv().await?;
    while chunk.len() < most
        && let Ok(more) = input.try_recv()
    {
        chunk.extend(more);
    }
    Some(chunk)
}

async fn drain_over<D: Delivery, H>(inner: Arc<Inner<D, H>>) {
    inner.stop.cancelled().await;
    tokio::time::sleep(inner.settings.drain).await;
    tracing::warn!(target: "ackonce", "Settings::drain is over: running handlers are cancelled");
}

struct Desk<D: Delivery, H, F> {
    inner: Arc<Inner<D, H>>,
    feed: Feed,
    done: F,
    /// What waits behind the running delivery of each busy lane.
    lanes: HashMap<u64, VecDeque<Admission<D>>>,
    /// How many those are.
    waiting: usize,
    tasks: JoinSet<Ended<D>>,
    batching: bool,
    fatal: Option<Error>,
}

impl<D, H, F> Desk<D, H, F>
where
    D: Delivery,
    H: Handler<D::Message>,
    F: Fn(Outcome<D>) + Send + Sync + 'static,
{
    fn has_room(&self) -> bool {
        match self.feed {
            Feed::Each => self.waiting + self.tasks.len() < 2 * self.inner.settings.chunk,
            Feed::Batches => !self.batching,
        }
    }

    async fn take(&mut self, chunk: Vec<(Option<u64>, Admission<D>)>) {
        let mut batch = Vec::new();
        let mut unwanted = Vec::new();
        for (lane, admission) in chunk {
            match admission {
                Admission::Duplicate(receipt) => (self.done)(Ok(receipt)),
                Admission::Refused(unsettled) => self.not_done(unsettled),
                Admission::Run(ticket) if self.inner.stop.is_cancelled() => unwanted.push(ticket),
                Admission::Run(ticket) if self.feed == Feed::Batches && self.is_plain(&ticket) => {
                    batch.push(ticket)
                }
                other => self.queue(lane, other),
            }
        }
        for unsettled in self.inner.hand_back(unwanted, &Why::Stopped).await {
            self.not_done(unsettled);
        }
        if !batch.is_empty() {
            self.batching = true;
            let inner = self.inner.clone();
            self.tasks.spawn(async move { Ended::Batch(inner.work(batch).await) });
        }
    }

    /// Whether it may share a batch: nothing about it needs a decision of its own.
    fn is_plain(&self, ticket: &Ticket<D>) -> bool {
        let settings = &self.inner.settings;
        let certain = ticket.lease.previous != Previous::Vanished
            || matches!(settings.on_unknown, OnUnknown::RunAgain)
            || self.inner.meters.class == Class::Inbox;
        certain
            && ticket.job.condemned.is_none()
            && ticket.lease.attempt <= settings.attempts
            && ticket.job.delivery.is_current()
    }

    fn queue(&mut self, lane: Option<u64>, admission: Admission<D>) {
        if let Some(id) = lane {
            match self.lanes.entry(id) {
                Entry::Occupied(mut waiting) => {
                    self.waiting += 1;
                    return waiting.get_mut().push_back(admission);
                }
                Entry::Vacant(idle) => {
                    idle.insert(VecDeque::new());
                }
            }
        }
        let inner = self.inner.clone();
        self.tasks.spawn(async move { Ended::One(lane, inner.resume(admission).await) });
    }

    fn ended(&mut self, ended: std::result::Result<Ended<D>, tokio::task::JoinError>) {
        match ended {
            Ok(Ended::One(lane, outcome)) => {
                self.report(outcome);
                if let Some(id) = lane {
                    let next = self.lanes.remove(&id).and_then(|mut waiting| {
                        let next = waiting.pop_front()?;
                        Some((next, waiting))
                    });
                    if let Some((next, waiting)) = next {
                        self.waiting -= 1;
                        self.queue(lane, next);
                        self.lanes.insert(id, waiting);
                    }
                }
            }
            Ok(Ended::Batch(all)) => {
                self.batching = false;
                all.into_iter().for_each(|next| self.batched(next));
            }
            // A panic outside the handler: in a graveyard, a probe, a delivery. Its delivery stays unsettled.
            Err(_) => self.fail(broken("processing")),
        }
    }

    fn batched(&mut self, next: Next<D>) {
        match next {
            Next::Settled(receipt) => (self.done)(Ok(receipt)),
            Next::Stop(unsettled) => self.not_done(unsettled),
            Next::Later(job, wait) => {
                let inner = self.inner.clone();
                self.tasks.spawn(async move { Ended::One(None, inner.later(job, wait).await) });
            }
        }
    }

    fn report(&mut self, outcome: Outcome<D>) {
        match outcome {
            Ok(receipt) => (self.done)(Ok(receipt)),
            Err(unsettled) => self.not_done(unsettled),
        }
    }

    fn not_done(&mut self, unsettled: Unsettled<D>) {
        if let Why::Fatal(error) = unsettled.why() {
            let error = error.clone();
            self.fail(error);
        }
        (self.done)(Err(unsettled));
    }

    fn fail(&mut self, error: Error) {
        tracing::error!(target: "ackonce", %error, "the consumer ends");
        self.fatal.get_or_insert(error);
        self.inner.stop.cancel();
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("{what} a delivery panicked outside its handler"))
}
