//! From a stream of chunks to handlers: lanes in order, side by side, claimed when they can start.
//!
//! Nothing is claimed that has to wait for a handler. A claim counts an attempt, and a worker that is killed
//! must not charge messages that were merely queued.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;

use crate::observe::Taken;
use crate::ticket::Why;
use crate::{
    Class, Delivery, Error, ErrorKind, Handler, Job, OnUnknown, Previous, Receipt, Result, Settings, Ticket,
    Unsettled, chain,
};

use super::admit::Admission;
use super::conclude::Next;
use super::process::Held;
use super::work::{Handled, Worked};
use super::{Group, Inner};

/// Batches that may wait for the store to record them. A kill charges an attempt to these and to the one that runs:
/// all of them were run, none was merely queued.
const MAX_SETTLING: usize = 2;

/// A job and the lane it belongs to; jobs of one lane run in order. Without a lane it waits for nobody.
#[derive(Debug)]
pub struct Ordered<D> {
    /// A lane, whose messages keep their order: a partition, a record key's hash.
    pub lane: Option<u64>,
    /// The job.
    pub job: Job<D>,
}

/// The way that messages are given to the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One at a time, lanes side by side.
    Each,
    /// A claimed chunk at once. Order holds within and across chunks, but for messages that are retried.
    Batches,
}

type Outcome<D> = std::result::Result<Receipt<D>, Unsettled<D>>;
type Slot = OwnedSemaphorePermit;

/// The result of one task.
enum Ended<D> {
    /// Answers to claims, each with the slot of its handler.
    Claimed(Vec<(Option<u64>, Slot, Admission<D>)>),
    /// One delivery of a lane.
    One(Option<u64>, Outcome<D>),
    /// A batch that was run, still to be settled, and the deliveries of it that go on alone.
    Ran(Group<Ticket<D>>, Handled, Group<Next<D>>),
    /// A batch with nothing left to settle; some of it may have to go on alone.
    Over(Group<Next<D>>),
    /// A batch that was run before, and is settled now.
    Settled(Group<Next<D>>),
}

pub(super) async fn consume<D, H, F>(
    inner: Arc<Inner<D, H>>,
    mut input: mpsc::Receiver<Vec<Ordered<D>>>,
    feed: Mode,
    done: F,
) -> Result<()>
where
    D: Delivery,
    H: Handler<D::Message>,
    F: Fn(Vec<Outcome<D>>) + Send + Sync + 'static,
{
    let mut drain_over = pin!(drain_over(inner.clone()));
    let (stop, freed) = (inner.stop.token().clone(), inner.clone());
    let taken = Taken::none(inner.meters.clone());
    let mut dispatcher = Dispatcher {
        inner,
        feed,
        done,
        ready: VecDeque::new(),
        lanes: HashMap::new(),
        tasks: JoinSet::new(),
        batching: false,
        settling: 0,
        over: Vec::new(),
        taken,
        fatal: None,
    };
    let mut open = true;
    loop {
        dispatcher.start();
        dispatcher.hand_over();
        if !open && dispatcher.tasks.is_empty() && dispatcher.ready.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = &mut drain_over, if !dispatcher.inner.abort.is_on() => dispatcher.inner.abort.turn_on(),
            Some(ended) = dispatcher.tasks.join_next() => {
                dispatcher.ended(ended);
                // Other deliveries that have ended are reported with it.
                while let Some(ended) = dispatcher.tasks.try_join_next() {
                    dispatcher.ended(ended);
                }
            }
            chunk = input.recv(), if open && dispatcher.has_room() => match chunk {
                Some(chunk) => dispatcher.take(chunk),
                None => open = false,
            },
            // A delivery that waits has given its slot to the next.
            () = freed.slot_freed.notified(), if !dispatcher.ready.is_empty() => {}
            // Deliveries that wait for a slot are handed back at once.
            () = stop.cancelled(), if !dispatcher.ready.is_empty() => {}
        }
    }
    dispatcher.fatal.map_or(Ok(()), Err)
}

async fn drain_over<D: Delivery, H>(inner: Arc<Inner<D, H>>) {
    inner.stop.on().await;
    tokio::time::sleep(inner.settings.shutdown_timeout).await;
    tracing::warn!(target: "ackonce", scope = inner.scope.name(),
        "Settings::shutdown_timeout is over: running handlers are cancelled");
}

struct Dispatcher<D: Delivery, H, F> {
    inner: Arc<Inner<D, H>>,
    feed: Mode,
    done: F,
    /// Jobs that may start: heads of idle lanes, and jobs without a lane.
    ready: VecDeque<(Option<u64>, Job<D>)>,
    /// Jobs behind the head of each busy lane.
    lanes: HashMap<u64, VecDeque<Job<D>>>,
    tasks: JoinSet<Ended<D>>,
    /// True if a batch is being claimed or run. The next is claimed when its handler is free, not before.
    batching: bool,
    /// Batches that were run and wait for the store to record it, while the next one runs.
    settling: usize,
    /// Ends to report at the next opportunity.
    over: Vec<Outcome<D>>,
    taken: Taken,
    fatal: Option<Error>,
}

impl<D, H, F> Dispatcher<D, H, F>
where
    D: Delivery,
    H: Handler<D::Message>,
    F: Fn(Vec<Outcome<D>>) + Send + Sync + 'static,
{
    /// True if more is read. Only jobs that could start at once count: jobs behind a stuck head and deliveries that wait
    /// must not hold up the other lanes.
    fn has_room(&self) -> bool {
        let Settings { chunk, concurrency, .. } = self.inner.settings;
        self.ready.len() < chunk.max(concurrency).saturating_mul(2)
    }

    fn take(&mut self, chunk: Vec<Ordered<D>>) {
        self.taken.take(chunk.len());
        for Ordered { lane, job } in chunk {
            let lane = lane.filter(|_| self.feed == Mode::Each);
            match lane.map(|id| self.lanes.entry(id)) {
                Some(Entry::Occupied(mut busy)) => {
                    busy.get_mut().push_back(job);
                }
                Some(Entry::Vacant(idle)) => {
                    idle.insert(VecDeque::new());
                    self.ready.push_back((lane, job));
                }
                None => self.ready.push_back((None, job)),
            }
        }
    }

    /// Claims the jobs that have a slot, in one trip.
    fn start(&mut self) {
        if self.inner.stop.is_on() {
            while let Some((lane, job)) = self.ready.pop_front() {
                self.not_done(job.unsettled(Why::Stopped));
                self.next_of(lane);
            }
            return;
        }
        match self.feed {
            Mode::Each => self.start_each(),
            Mode::Batches => self.start_batch(),
        }
    }

    fn start_each(&mut self) {
        let (mut slots, mut jobs) = (Vec::new(), Group::new());
        while jobs.len() < self.inner.settings.chunk
            && !self.ready.is_empty()
            && let Ok(slot) = self.inner.handlers.clone().try_acquire_owned()
            && let Some((lane, job)) = self.pop_current()
        {
            slots.push((lane, slot));
            jobs.push(job);
        }
        if jobs.is_empty() {
            return;
        }
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            let answers = inner.admit(jobs).await;
            let claimed = slots.into_iter().zip(answers).map(|((lane, slot), answer)| (lane, slot, answer));
            Ended::Claimed(claimed.collect())
        });
    }

    fn start_batch(&mut self) {
        if self.batching || self.settling >= MAX_SETTLING || self.ready.is_empty() {
            return;
        }
        let mut jobs = Group::new();
        while jobs.len() < self.inner.settings.chunk
            && let Some((_, job)) = self.pop_current()
        {
            jobs.push(job);
        }
        self.batching = true;
        let inner = self.inner.clone();
        self.tasks.spawn(async move { inner.batch(jobs).await });
    }

    /// A batch was run: the next may start while this one is recorded.
    fn settle(&mut self, mut group: Group<Ticket<D>>, handled: Handled) {
        self.settling += 1;
        let inner = self.inner.clone();
        self.tasks.spawn(async move { Ended::Settled(inner.conclude(&mut group, handled).await) });
    }

    /// Reports the deliveries that have ended.
    fn hand_over(&mut self) {
        if !self.over.is_empty() {
            self.taken.over(&self.over);
            (self.done)(std::mem::take(&mut self.over));
        }
    }

    /// The next job that is still wanted.
    fn pop_current(&mut self) -> Option<(Option<u64>, Job<D>)> {
        while let Some((lane, job)) = self.ready.pop_front() {
            if job.delivery.is_current() {
                return Some((lane, job));
            }
            self.not_done(job.unsettled(Why::NotCurrent));
            self.next_of(lane);
        }
        None
    }

    fn ended(&mut self, ended: std::result::Result<Ended<D>, tokio::task::JoinError>) {
        match ended {
            Ok(Ended::Claimed(all)) => {
                all.into_iter().for_each(|(lane, slot, admission)| self.claimed(lane, slot, admission));
            }
            Ok(Ended::One(lane, outcome)) => self.report(lane, outcome),
            Ok(Ended::Ran(group, handled, rest)) => {
                self.batching = false;
                self.settle(group, handled);
                rest.into_iter().for_each(|next| self.batched(next));
            }
            Ok(Ended::Over(all)) => {
                self.batching = false;
                all.into_iter().for_each(|next| self.batched(next));
            }
            Ok(Ended::Settled(all)) => {
                self.settling -= 1;
                all.into_iter().for_each(|next| self.batched(next));
            }
            // A panic outside the handler: in a graveyard, a probe, a delivery. Its delivery stays unsettled.
            Err(_) => self.fail(Error::new(ErrorKind::Protocol, "a delivery panicked outside its handler")),
        }
    }

    fn claimed(&mut self, lane: Option<u64>, slot: Slot, admission: Admission<D>) {
        match admission {
            Admission::Duplicate(receipt) => self.report(lane, Ok(receipt)),
            Admission::Refused(unsettled) => self.report(lane, Err(unsettled)),
            admission => {
                let inner = self.inner.clone();
                self.tasks.spawn(async move { Ended::One(lane, inner.resume(admission, slot).await) });
            }
        }
    }

    fn batched(&mut self, next: Next<D>) {
        match next {
            Next::Settled(receipt) => self.report(None, Ok(receipt)),
            Next::Stop(unsettled) => self.report(None, Err(unsettled)),
            next => {
                let inner = self.inner.clone();
                self.tasks.spawn(async move { Ended::One(None, inner.go_on(next).await) });
            }
        }
    }

    fn report(&mut self, lane: Option<u64>, outcome: Outcome<D>) {
        match outcome {
            Ok(receipt) => self.over.push(Ok(receipt)),
            Err(unsettled) => self.not_done(unsettled),
        }
        self.next_of(lane);
    }

    /// The head of this lane has ended: the next one may start.
    fn next_of(&mut self, lane: Option<u64>) {
        let Some(id) = lane else { return };
        match self.lanes.get_mut(&id).and_then(VecDeque::pop_front) {
            Some(job) => {
                self.ready.push_back((lane, job));
            }
            None => drop(self.lanes.remove(&id)),
        }
    }

    fn not_done(&mut self, unsettled: Unsettled<D>) {
        if let Why::Fatal(error) = unsettled.why() {
            let error = error.clone();
            self.fail(error);
        }
        self.over.push(Err(unsettled));
    }

    fn fail(&mut self, error: Error) {
        tracing::error!(target: "ackonce", scope = self.inner.scope.name(), error = %chain(&error), "the consumer ends");
        self.fatal.get_or_insert(error);
        self.inner.stop.turn_on();
    }
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// Claims a chunk and runs the acquired part at once; the rest goes on alone.
    async fn batch(&self, jobs: Group<Job<D>>) -> Ended<D> {
        let (mut group, mut next, mut revoked) = (Group::new(), Group::new(), Group::new());
        for admission in self.admit(jobs).await {
            match admission {
                Admission::Duplicate(receipt) => next.push(Next::Settled(receipt)),
                Admission::Refused(unsettled) => next.push(Next::Stop(unsettled)),
                Admission::Run(ticket) if !ticket.job.delivery.is_current() => revoked.push(ticket),
                Admission::Run(ticket) if self.is_plain(&ticket) => group.push(ticket),
                // Asked for again alone, with the same token: it is answered as before.
                Admission::Run(Ticket { job, .. }) => next.push(Next::Later(job, Duration::ZERO)),
                Admission::Suspect(job, wait) => next.push(self.suspect(job, wait)),
                Admission::Busy(job, free_in) => next.push(self.busy(job, free_in, &mut Held::default())),
                Admission::Mismatch(job) => next.push(self.mismatch(job)),
                Admission::Letter(job) => next.push(Next::Redrive(job)),
                Admission::Invalid(job, error) => next.push(self.unclaimable(job, error)),
            }
        }
        next.extend(self.hand_back(revoked, &Why::NotCurrent).await.into_iter().map(Next::Stop));
        if group.is_empty() {
            return Ended::Over(next);
        }
        let hold = self.hold(&group);
        match self.handle(&mut group, hold).await {
            Worked::Handled(handled) => Ended::Ran(group, handled, next),
            Worked::Over(over) => {
                next.extend(over);
                Ended::Over(next)
            }
        }
    }

    /// True if it may share a batch: nothing about it needs a decision of its own.
    fn is_plain(&self, ticket: &Ticket<D>) -> bool {
        let certain = ticket.lease.previous != Previous::Vanished
            || matches!(self.settings.on_unknown, OnUnknown::RunAgain)
            || self.meters.class == Class::Inbox;
        let counted = ticket.lease.attempt <= self.settings.attempts || !self.buries;
        certain && ticket.job.dead_lettered.is_none() && counted
    }
}
