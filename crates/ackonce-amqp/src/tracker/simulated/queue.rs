//! A queue: its messages, its channels with their tags, and its limit of deliveries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ackonce_sim::{Broker, Process, World};

use super::channel;

/// A message that came back more often is set aside.
const LIMIT: u32 = 20;
/// The channels of a process that is silent for so long are closed, in microseconds.
const SILENCE: u64 = 3_000_000;

/// A message in the queue, and how often it has come back.
#[derive(Debug, Clone, Copy)]
struct Queued {
    id: u32,
    returns: u32,
}

#[derive(Debug, Default)]
struct Channel {
    owner: u32,
    heard: u64,
    last_tag: u64,
    unacked: BTreeMap<u64, Queued>,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Queued>,
    channels: BTreeMap<u64, Channel>,
    opened: u64,
}

#[derive(Debug)]
pub(super) struct SimulatedQueue {
    pub(super) world: Arc<World>,
    state: Mutex<State>,
}

/// The channel is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl SimulatedQueue {
    pub(super) fn new(world: Arc<World>) -> Self {
        let ready = world.plan.published.iter().map(|id| Queued { id: *id, returns: 0 }).collect();
        Self { world, state: Mutex::new(State { ready, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_channel(&self, owner: u32, now: u64) -> u64 {
        let mut state = self.state();
        state.opened += 1;
        let name = state.opened;
        state.channels.insert(name, Channel { owner, heard: now, ..Channel::default() });
        name
    }

    /// The next message of a channel, with its tag, if its prefetch leaves room.
    pub(super) fn next(&self, channel: u64, now: u64) -> Result<Option<(u64, u32)>, Gone> {
        let mut state = self.state();
        let State { ready, channels, .. } = &mut *state;
        let open = channels.get_mut(&channel).ok_or(Gone)?;
        open.heard = now;
        if open.unacked.len() >= self.world.plan.read_ahead() {
            return Ok(None);
        }
        let Some(message) = ready.pop_front() else { return Ok(None) };
        open.last_tag += 1;
        open.unacked.insert(open.last_tag, message);
        Ok(Some((open.last_tag, message.id)))
    }

    /// Takes an ack. Its own tag must be one that is not closed; otherwise the broker closes the channel.
    pub(super) fn ack(&self, channel: u64, tag: u64, is_multiple: bool, now: u64) -> Result<(), Gone> {
        let mut state = self.state();
        let open = state.channels.get_mut(&channel).ok_or(Gone)?;
        self.world.log(now, open.owner, format_args!("ack {tag} of {channel}, {is_multiple}"));
        if !open.unacked.contains_key(&tag) {
            self.world.wrong(now, format!("406: tag {tag} of channel {channel} is not open"));
        }
        let from = if is_multiple { 0 } else { tag };
        for acked in from..=tag {
            if let Some(message) = open.unacked.remove(&acked)
                && !self.world.is_settled(message.id)
            {
                self.world.wrong(now, format!("{} is acked and not settled", message.id));
            }
        }
        Ok(())
    }

    pub(super) fn give_back(&self, channel: u64, tag: u64, now: u64) -> Result<(), Gone> {
        let mut state = self.state();
        let open = state.channels.get_mut(&channel).ok_or(Gone)?;
        match open.unacked.remove(&tag) {
            Some(message) => self.requeue(&mut state, [message], now),
            None => self.world.wrong(now, format!("406: tag {tag} of channel {channel} is not open")),
        }
        Ok(())
    }

    fn close(&self, state: &mut State, channel: u64, now: u64) {
        if let Some(closed) = state.channels.remove(&channel) {
            self.world.log(now, closed.owner, format_args!("channel {channel} is closed"));
            self.requeue(state, closed.unacked.into_values().rev(), now);
        }
    }

    fn requeue(&self, state: &mut State, messages: impl IntoIterator<Item = Queued>, now: u64) {
        for Queued { id, returns } in messages {
            if returns < LIMIT {
                state.ready.push_front(Queued { id, returns: returns + 1 });
            } else {
                self.world.log(now, 0, format_args!("{id} came back too often"));
                self.world.dropped_at_limit(id);
            }
        }
    }

    fn close_all(&self, now: u64, which: impl Fn(u64, &Channel) -> bool) {
        let mut state = self.state();
        let named = state.channels.iter().filter(|(name, channel)| which(**name, channel));
        for name in named.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.close(&mut state, name, now);
        }
    }
}

impl Broker for SimulatedQueue {
    fn open(self: &Arc<Self>, process: Process) {
        channel::open(self, process);
    }

    fn step(&self, now: u64) {
        self.close_all(now, |_, channel| channel.heard + SILENCE < now);
    }

    /// A channel is lost, or all are.
    fn disturb(&self, now: u64) {
        let (kind, parity) = (self.world.roll(3), self.world.roll(2));
        self.close_all(now, |name, _| kind == 0 || name % 2 == parity);
    }

    fn died(&self, name: u32, now: u64) {
        self.close_all(now, |_, channel| channel.owner == name);
    }

    fn is_finished(&self) -> bool {
        let state = self.state();
        state.ready.is_empty() && state.channels.values().all(|channel| channel.unacked.is_empty())
    }
}
