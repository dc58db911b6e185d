//! The steps that are possible in a situation, and the situation after each.

use ackonce::{Key, Scope};
use stateright::{Model, Property};

use crate::state::{Broken, Ended, Message, Phase, Request, State};
use crate::store::Answer;
use crate::worker::{How, Lease, Worker};

/// The size of an exploration.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The workers, interchangeable.
    pub workers: usize,
    /// The messages, interchangeable.
    pub messages: usize,
    /// Deaths of workers, at any step.
    pub crashes: u8,
    /// Requests that are applied and whose reply is lost.
    pub lost_replies: u8,
    /// Requests that arrive late, after they were sent again or their sender is gone.
    pub delays: u8,
    /// Deliveries of acknowledged messages.
    pub duplicates: u8,
    /// The attempts after which a failing message is buried.
    pub attempts: u8,
    /// The window in ticks, after which a record may be swept; `None`: it outlasts everything.
    pub window: Option<u8>,
    /// Fences that were granted before the store's clock was set back are above its present.
    pub clock_was_set_back: bool,
    /// A planted bug.
    pub bug: Option<Bug>,
    /// The keys of the messages.
    pub keys: Vec<Key>,
}

/// A bug that the exploration must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A claim is granted while a lease lives.
    LeaseIgnored,
    /// A claim is granted before the end of a back-off.
    BackoffIgnored,
    /// A claim is granted under the fence of the one before.
    FenceReused,
    /// A settlement changes the record of another claim.
    SettledByAnybody,
    /// A claim does not say that the attempt before vanished.
    HiddenEffect,
    /// A claim drops the progress of the attempts before.
    ProgressDropped,
    /// A busy delivery is acknowledged.
    BusyAcked,
    /// The record is completed before the handler runs.
    RecordedFirst,
    /// A lease never ends.
    EndlessLease,
    /// A sweep drops records that are still in their window.
    SweptEarly,
    /// A worker waits for the reply to its claim and never asks again.
    NeverAsksAgain,
}

/// One step of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The broker delivers a message to an idle worker, which claims it.
    Deliver(usize, usize, Way),
    /// A worker sends its claim again.
    AskAgain(usize, Way),
    /// The effect happens.
    Run(usize),
    /// A worker settles its claim, or sends that again.
    Settle(usize, How, Way),
    /// A worker dies, or gives up.
    Crash(usize),
    /// A late request arrives.
    Arrive(usize),
    /// A tick passes.
    Tick,
    /// The store drops an expired record.
    Sweep(usize),
}

/// The way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is applied and answered.
    Answered,
    /// It is applied; the reply is lost.
    ReplyLost,
    /// It is applied later; the sender does not hear of it.
    Late,
}

impl Protocol {
    /// Two workers and one message, with two crashes, a lost reply and a late request.
    #[must_use]
    pub fn new(workers: usize, messages: usize) -> Self {
        let scope = Scope::new("model").ok();
        let key = |n: usize| scope.as_ref()?.key(format!("message-{n}")).ok();
        Self {
            workers,
            messages,
            crashes: 2,
            lost_replies: 1,
            delays: 1,
            duplicates: 1,
            attempts: 2,
            window: None,
            clock_was_set_back: false,
            bug: None,
            keys: (0..messages).filter_map(key).collect(),
        }
    }

    fn ways(state: &State) -> impl Iterator<Item = Way> {
        let lost = (state.lost_replies > 0).then_some(Way::ReplyLost);
        let late = (state.delays > 0).then_some(Way::Late);
        [Some(Way::Answered), lost, late].into_iter().flatten()
    }

    /// The settlements that a worker with this claim may send.
    fn settlements(&self, lease: &Lease, ran: bool) -> &'static [How] {
        match () {
            // Its attempts are used up by processes that died of it.
            () if lease.attempt > self.attempts => &[How::Bury, How::Extend],
            () if ran => &[How::Complete, How::Extend],
            () if self.bug == Some(Bug::RecordedFirst) => &[How::Complete],
            () if lease.attempt == self.attempts => &[How::Bury, How::HandBack, How::Extend],
            () if !lease.saved => &[How::Fail, How::HandBack, How::Extend, How::Save],
            () => &[How::Fail, How::HandBack, How::Extend],
        }
    }

    /// Sends a request: spends the fault, and says if it is applied now, and if its sender hears the answer.
    fn send(state: &mut State, request: Request, way: Way) -> (bool, bool) {
        match way {
            Way::Answered => (true, true),
            Way::ReplyLost => {
                state.lost_replies -= 1;
                (true, false)
            }
            Way::Late => {
                state.delays -= 1;
                state.late.push(request);
                (false, false)
            }
        }
    }

    fn ask(&self, state: &mut State, worker: usize, (message, token): (usize, u8), way: Way) {
        let (applied, heard) = Self::send(state, Request::Claim { message, token }, way);
        state.workers[worker] = Worker::Asking { message, token };
        if !applied {
            return;
        }
        let State { messages, broken, .. } = state;
        let answer = self.claim(&self.keys[message], &mut messages[message], token, broken);
        if !heard {
            return;
        }
        state.workers[worker] = match answer {
            Answer::Acquired(lease) => Worker::Running { message, lease, ran: false },
            Answer::Done => ack(state, message),
            Answer::Busy if self.bug == Some(Bug::BusyAcked) => ack(state, message),
            Answer::Busy => Worker::Idle,
        };
    }

    fn settle_claim(&self, state: &mut State, worker: usize, how: How, way: Way) {
        let (message, lease, ran) = match state.workers[worker] {
            Worker::Running { message, lease, ran } => (message, lease, ran),
            Worker::Settling { message, lease, .. } => (message, lease, true),
            Worker::Idle | Worker::Asking { .. } => return,
        };
        let Lease { token, fence, .. } = lease;
        let (applied, heard) = Self::send(state, Request::Settle { message, token, fence, how }, way);
        let State { messages, broken, .. } = state;
        let settled =
            applied && self.settle(&self.keys[message], &mut messages[message], (token, fence), how, broken);
        state.workers[worker] = match how {
            // A heartbeat without an answer: the worker goes on, until its own clock says that the lease may end.
            How::Extend if !heard || settled => Worker::Running { message, lease, ran },
            How::Save if !heard => Worker::Running { message, lease, ran },
            _ if !heard => Worker::Settling { message, lease, how },
            How::Complete | How::Bury if settled => ack(state, message),
            How::Save if settled => Worker::Running { message, lease: Lease { saved: true, ..lease }, ran },
            How::Complete | How::Bury | How::Fail | How::HandBack | How::Extend | How::Save => Worker::Idle,
        };
    }

    fn arrive(&self, state: &mut State, n: usize) {
        let request = state.late.remove(n);
        let State { messages, broken, .. } = state;
        match request {
            Request::Claim { message, token } => {
                let _ = self.claim(&self.keys[message], &mut messages[message], token, broken);
            }
            Request::Settle { message, token, fence, how } => {
                self.settle(&self.keys[message], &mut messages[message], (token, fence), how, broken);
            }
        }
    }

    fn tick(&self, state: &mut State) {
        for message in &mut state.messages {
            let Some(held) = &mut message.record else { continue };
            if self.bug != Some(Bug::EndlessLease) {
                held.free_in = held.free_in.saturating_sub(1);
            }
            held.expires_in = held.expires_in.map(|left| left.saturating_sub(1));
            if held.expires_in == Some(0) {
                // The window is over: from here on a delivery counts as one of a new message.
                (message.settled_by, message.unreported, message.saved) = (None, false, false);
            }
        }
    }
}

/// The broker forgets the message; the worker is free.
fn ack(state: &mut State, message: usize) -> Worker {
    let truth = &mut state.messages[message];
    if !truth.effect && !truth.buried {
        state.broken.get_or_insert(Broken::Lost);
    }
    truth.acked = true;
    Worker::Idle
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let message = Message {
            record: None,
            effect: false,
            unreported: false,
            acked: false,
            fence: 0,
            settled_by: None,
            buried: false,
            saved: false,
        };
        vec![State {
            messages: vec![message; self.messages],
            workers: vec![Worker::Idle; self.workers],
            late: Vec::new(),
            crashes: self.crashes,
            lost_replies: self.lost_replies,
            delays: self.delays,
            duplicates: self.duplicates,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for (n, worker) in state.workers.iter().enumerate() {
            match worker {
                Worker::Idle => {
                    for (m, message) in state.messages.iter().enumerate() {
                        if !message.acked || state.duplicates > 0 {
                            actions.extend(Self::ways(state).map(|way| Action::Deliver(n, m, way)));
                        }
                    }
                    continue;
                }
                Worker::Asking { .. } if self.bug == Some(Bug::NeverAsksAgain) => {}
                Worker::Asking { .. } => {
                    actions.extend(Self::ways(state).map(|way| Action::AskAgain(n, way)));
                }
                Worker::Running { lease, ran, .. } => {
                    if !ran && lease.attempt <= self.attempts && self.bug != Some(Bug::RecordedFirst) {
                        actions.push(Action::Run(n));
                    }
                    for how in self.settlements(lease, *ran) {
                        actions.extend(Self::ways(state).map(|way| Action::Settle(n, *how, way)));
                    }
                }
                Worker::Settling { how, .. } => {
                    actions.extend(Self::ways(state).map(|way| Action::Settle(n, *how, way)));
                }
            }
            if state.crashes > 0 {
                actions.push(Action::Crash(n));
            }
        }
        actions.extend((0..state.late.len()).map(Action::Arrive));
        let swept = |message: &Message| {
            message.record.is_some_and(|held| {
                held.expires_in == Some(0) || self.bug == Some(Bug::SweptEarly) && held.phase_is(Phase::Done)
            })
        };
        let expired = state.messages.iter().enumerate().filter(|(_, message)| swept(message));
        actions.extend(expired.map(|(m, _)| Action::Sweep(m)));
        actions.push(Action::Tick);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Deliver(worker, message, way) => {
                if state.messages[message].acked {
                    state.duplicates -= 1;
                }
                let token = state.unused_token();
                self.ask(&mut state, worker, (message, token), way);
            }
            Action::AskAgain(worker, way) => {
                let Worker::Asking { message, token } = state.workers[worker] else { return None };
                self.ask(&mut state, worker, (message, token), way);
            }
            Action::Run(worker) => {
                let Worker::Running { message, lease, ran } = &mut state.workers[worker] else { return None };
                *ran = true;
                let truth = &mut state.messages[*message];
                truth.effect = true;
                // An effect that comes after a takeover, or after the window, is told by its fence alone.
                truth.unreported |= truth.record.is_some_and(|held| {
                    let is_current = held.token == lease.token && held.fence == lease.fence;
                    held.phase_is(Phase::Claimed) && is_current && held.expires_in != Some(0)
                });
            }
            Action::Settle(worker, how, way) => self.settle_claim(&mut state, worker, how, way),
            Action::Crash(worker) => {
                state.crashes -= 1;
                state.workers[worker] = Worker::Idle;
            }
            Action::Arrive(n) => self.arrive(&mut state, n),
            Action::Tick => self.tick(&mut state),
            Action::Sweep(message) => state.messages[message].record = None,
        }
        let state = state.canonical();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no promise is broken", |_, state: &State| state.broken.is_none()),
            Property::sometimes("a claim is told that the attempt before it vanished", |_, state: &State| {
                state.workers.iter().any(|worker| {
                    matches!(worker, Worker::Running { lease, .. } if lease.previous == Ended::Vanished)
                })
            }),
            Property::sometimes("every message is acknowledged", |_, state: &State| state.is_settled()),
        ]
    }
}
