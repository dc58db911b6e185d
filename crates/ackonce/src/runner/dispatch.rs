//! From a stream of chunks to handlers: lanes in order, side by side, claimed when they can start.
//!
//! Nothing is claimed that has to wait for a handler. A claim counts an attempt, and a worker that is killed
//! must not charge messages that were merely queued.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::chain::chain;
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::heartbeat::Hold;
use crate::observe::InFlight;
use crate::settings::Settings;
use crate::ticket::{Delivery, Job, Ticket, Unsettled, Why};

use super::Inner;
use super::run::Ran;
use super::slot::Slot;
use super::state::{Group, Outcome, State};

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

/// The result of one task.
enum Finished<D> {
    /// Claims of several lanes were answered; each delivery has a slot for its handler.
    Claims(Vec<(Option<u64>, Slot, State<D>)>),
    /// A delivery of a lane has ended.
    Delivery(Option<u64>, Outcome<D>),
    /// A batch was claimed: the messages that run together, if any, under their heartbeat; the others go on alone.
    Held(Option<(Group<Ticket<D>>, Hold)>, Group<State<D>>),
    /// A batch was claimed and run as far as it may run together.
    Batch(Option<Ran<D>>, Group<State<D>>),
    /// A batch that was run before was settled.
    Settled(Group<State<D>>),
}

pub(super) async fn consume<D, H, F>(
    inner: Arc<Inner<D, H>>,
    mut input: mpsc::Receiver<Vec<Ordered<D>>>,
    mode: Mode,
    done: F,
) -> Result<()>
where
    D: Delivery,
    H: Handler<D::Message>,
    F: Fn(Vec<Outcome<D>>) + Send + Sync + 'static,
{
    let mut drain_over = pin!(drain_over(inner.clone()));
    let (stop, freed) = (inner.stop.token().clone(), inner.clone());
    let in_flight = InFlight::new(inner.metrics.clone());
    let mut dispatcher = Dispatcher {
        inner,
        mode,
        done,
        ready: VecDeque::new(),
        lanes: HashMap::new(),
        tasks: JoinSet::new(),
        batching: false,
        settling: 0,
        ended: Vec::new(),
        in_flight,
        fatal: None,
    };
    let mut open = true;
    loop {
        dispatcher.start();
        dispatcher.report_ended();
        if !open && dispatcher.tasks.is_empty() && dispatcher.ready.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = &mut drain_over, if !dispatcher.inner.abort.is_on() => dispatcher.inner.abort.turn_on(),
            Some(finished) = dispatcher.tasks.join_next() => {
                dispatcher.finished(finished);
                // Other deliveries that have ended are reported with it.
                while let Some(finished) = dispatcher.tasks.try_join_next() {
                    dispatcher.finished(finished);
                }
            }
            chunk = input.recv(), if open && dispatcher.has_room() => match chunk {
                Some(chunk) => dispatcher.enqueue(chunk),
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
    mode: Mode,
    done: F,
    /// Jobs that may start: heads of idle lanes, and jobs without a lane.
    ready: VecDeque<(Option<u64>, Job<D>)>,
    /// Jobs behind the head of each busy lane.
    lanes: HashMap<u64, VecDeque<Job<D>>>,
    tasks: JoinSet<Finished<D>>,
    /// True if a batch is being claimed or run. The next is claimed when its handler is free, not before.
    batching: bool,
    /// Batches that were run and wait for the store to record it, while the next one runs.
    settling: usize,
    /// Ends to report at the next opportunity.
    ended: Vec<Outcome<D>>,
    in_flight: InFlight,
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

    fn enqueue(&mut self, chunk: Vec<Ordered<D>>) {
        self.in_flight.begin(chunk.len());
        for Ordered { lane, job } in chunk {
            let lane = lane.filter(|_| self.mode == Mode::Each);
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
                self.unsettled(job.unsettled(Why::Stopped));
                self.advance_lane(lane);
            }
            return;
        }
        match self.mode {
            Mode::Each => self.start_each(),
            Mode::Batches => self.start_batch(),
        }
    }

    fn start_each(&mut self) {
        let (mut slots, mut jobs) = (Vec::new(), Group::new());
        while jobs.len() < self.inner.settings.chunk
            && !self.ready.is_empty()
            && let Some(slot) = self.inner.free_slot()
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
            let states = inner.claim(jobs).await;
            let claimed = slots.into_iter().zip(states).map(|((lane, slot), state)| (lane, slot, state));
            Finished::Claims(claimed.collect())
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

    /// Runs a batch whose other messages go on alone.
    fn run(&mut self, group: Group<Ticket<D>>, hold: Hold) {
        let inner = self.inner.clone();
        self.tasks.spawn(async move { Finished::Batch(Some(inner.run(group, hold).await), Group::new()) });
    }

    /// A batch was run: the next may start while this one is recorded.
    fn settle(&mut self, Ran { states, hold }: Ran<D>) {
        self.settling += 1;
        let inner = self.inner.clone();
        self.tasks.spawn(async move { Finished::Settled(inner.settle(states, Some(&hold)).await) });
    }

    /// Reports the deliveries that have ended.
    fn report_ended(&mut self) {
        if !self.ended.is_empty() {
            self.in_flight.end(&self.ended);
            (self.done)(std::mem::take(&mut self.ended));
        }
    }

    /// The next job that is still wanted.
    fn pop_current(&mut self) -> Option<(Option<u64>, Job<D>)> {
        while let Some((lane, job)) = self.ready.pop_front() {
            if job.delivery.is_current() {
                return Some((lane, job));
            }
            self.unsettled(job.unsettled(Why::NotCurrent));
            self.advance_lane(lane);
        }
        None
    }

    fn finished(&mut self, finished: std::result::Result<Finished<D>, tokio::task::JoinError>) {
        match finished {
            Ok(Finished::Claims(claims)) => {
                claims
                    .into_iter()
                    .for_each(|(lane, slot, state)| self.continue_alone(lane, state, Some(slot)));
            }
            Ok(Finished::Delivery(lane, outcome)) => self.report(lane, outcome),
            Ok(Finished::Held(held, rest)) => {
                rest.into_iter().for_each(|state| self.continue_alone(None, state, None));
                match held {
                    Some((group, hold)) => self.run(group, hold),
                    None => self.batching = false,
                }
            }
            Ok(Finished::Batch(ran, rest)) => {
                self.batching = false;
                if let Some(ran) = ran {
                    self.settle(ran);
                }
                rest.into_iter().for_each(|state| self.continue_alone(None, state, None));
            }
            Ok(Finished::Settled(states)) => {
                self.settling -= 1;
                states.into_iter().for_each(|state| self.continue_alone(None, state, None));
            }
            // A panic outside the handler: in a graveyard, a probe, a delivery. Its delivery stays unsettled.
            Err(_) => self.fail(Error::new(ErrorKind::Protocol, "a delivery panicked outside its handler")),
        }
    }

    /// One delivery goes on by itself, if it has not ended.
    fn continue_alone(&mut self, lane: Option<u64>, state: State<D>, slot: Option<Slot>) {
        match state {
            State::Ended(outcome) => self.report(lane, outcome),
            state => {
                let inner = self.inner.clone();
                self.tasks.spawn(async move { Finished::Delivery(lane, inner.deliver(state, slot).await) });
            }
        }
    }

    fn report(&mut self, lane: Option<u64>, outcome: Outcome<D>) {
        match outcome {
            Ok(receipt) => self.ended.push(Ok(receipt)),
            Err(unsettled) => self.unsettled(unsettled),
        }
        self.advance_lane(lane);
    }

    /// The head of this lane has ended: the next one may start.
    fn advance_lane(&mut self, lane: Option<u64>) {
        let Some(id) = lane else { return };
        match self.lanes.get_mut(&id).and_then(VecDeque::pop_front) {
            Some(job) => {
                self.ready.push_back((lane, job));
            }
            None => drop(self.lanes.remove(&id)),
        }
    }

    fn unsettled(&mut self, unsettled: Unsettled<D>) {
        if let Why::Fatal(error) = unsettled.why() {
            let error = error.clone();
            self.fail(error);
        }
        self.ended.push(Err(unsettled));
    }

    fn fail(&mut self, error: Error) {
        tracing::error!(target: "ackonce", scope = self.inner.scope.name(), error = %chain(&error), "the consumer ends");
        self.fatal.get_or_insert(error);
        self.inner.stop.turn_on();
    }
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// Claims a chunk and runs at once the messages that need no decision of their own; the others go on alone.
    async fn batch(&self, jobs: Group<Job<D>>) -> Finished<D> {
        let (mut group, mut rest) = (Group::new(), Group::new());
        for state in self.claim(jobs).await {
            let state = match state {
                State::Claimed(ticket) => self.after_claim(ticket),
                other => other,
            };
            match state {
                State::Running(ticket) => group.push(ticket),
                // It has no slot for its handler: claimed again with the same token, it is answered as before.
                State::Probing(ticket, _) => rest.push(State::Waiting(ticket.job, Duration::ZERO)),
                other => rest.push(other),
            }
        }
        let held = if group.is_empty() { None } else { Some(self.hold(&group)) };
        // A hand-back waits for the store as long as that is away, and nobody waits for it: under a lease that is not renewed
        // no handler is started.
        let needs_trip = |state: &State<D>| matches!(state, State::Releasing(..) | State::Completing(..));
        match held {
            Some(hold) if !rest.iter().any(needs_trip) => {
                Finished::Batch(Some(self.run(group, hold).await), rest)
            }
            held => Finished::Held(held.map(|hold| (group, hold)), rest),
        }
    }
}
