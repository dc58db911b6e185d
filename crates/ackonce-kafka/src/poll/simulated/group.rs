//! A consumer group: members that come, are silent and go, and the partitions that move among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A member that is silent for so long is out, in microseconds.
const SESSION: u64 = 1_500_000;

/// An event for a member, as the driver gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Assign(Vec<usize>),
    Revoke(Vec<usize>),
    Lost(Vec<usize>),
}

#[derive(Debug, Default)]
struct Member {
    heard: u64,
    events: VecDeque<Event>,
    /// The partitions that it was told of and has not given back.
    holds: BTreeSet<usize>,
    is_out: bool,
}

#[derive(Debug, Clone, Default)]
struct Place {
    owner: Option<u32>,
    target: Option<u32>,
    is_revoking: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    places: Vec<Place>,
    members: BTreeMap<u32, Member>,
    /// All partitions stop for each rebalance.
    is_eager: bool,
}

impl Group {
    pub(super) fn new(partitions: usize, is_eager: bool) -> Self {
        Self { places: vec![Place::default(); partitions], members: BTreeMap::new(), is_eager }
    }

    pub(super) fn owns(&self, name: u32, partition: usize) -> bool {
        self.places[partition].owner == Some(name)
    }

    /// The events for a member since it asked last. One that was thrown out joins again with its next call.
    pub(super) fn poll(&mut self, name: u32, now: u64, turn: usize) -> Vec<Event> {
        let Some(member) = self.members.get_mut(&name) else {
            self.members.insert(name, Member { heard: now, ..Member::default() });
            self.rebalance(turn);
            return Vec::new();
        };
        if member.is_out {
            let lost = std::mem::take(&mut member.holds).into_iter().collect();
            self.members.remove(&name);
            return vec![Event::Lost(lost)];
        }
        member.heard = now;
        member.events.drain(..).collect()
    }

    /// A member has given partitions back.
    pub(super) fn revoked(&mut self, name: u32, partitions: &[usize]) {
        for partition in partitions {
            let place = &mut self.places[*partition];
            if place.owner == Some(name) && place.is_revoking {
                (place.owner, place.is_revoking) = (None, false);
            }
            if let Some(member) = self.members.get_mut(&name) {
                member.holds.remove(partition);
            }
        }
        self.assign();
    }

    /// Throws out the silent ones.
    pub(super) fn step(&mut self, now: u64, turn: usize) {
        let mut is_changed = false;
        for (name, member) in &mut self.members {
            if !member.is_out && member.heard + SESSION < now {
                member.is_out = true;
                is_changed = true;
                for place in self.places.iter_mut().filter(|place| place.owner == Some(*name)) {
                    (place.owner, place.is_revoking) = (None, false);
                }
            }
        }
        if is_changed {
            self.rebalance(turn);
        }
    }

    /// Each partition gets another member, as `turn` has it.
    pub(super) fn rebalance(&mut self, turn: usize) {
        let live: Vec<_> = self.members.iter().filter(|(_, m)| !m.is_out).map(|(name, _)| *name).collect();
        let mut revoked = BTreeMap::<u32, Vec<usize>>::new();
        for (at, place) in self.places.iter_mut().enumerate() {
            place.target = live.get((at + turn) % live.len().max(1)).copied();
            if let Some(owner) = place.owner
                && !place.is_revoking
                && (self.is_eager || place.target != place.owner)
            {
                place.is_revoking = true;
                revoked.entry(owner).or_default().push(at);
            }
        }
        self.tell(revoked, Event::Revoke);
        self.assign();
    }

    fn assign(&mut self) {
        if self.is_eager && self.places.iter().any(|place| place.owner.is_some()) {
            // Those that nobody has to give back were assigned with the others.
            return;
        }
        let mut assigned = BTreeMap::<u32, Vec<usize>>::new();
        for (at, place) in self.places.iter_mut().enumerate() {
            if place.owner.is_none()
                && let Some(target) = place.target
            {
                place.owner = Some(target);
                assigned.entry(target).or_default().push(at);
            }
        }
        for (name, partitions) in &assigned {
            if let Some(member) = self.members.get_mut(name) {
                member.holds.extend(partitions);
            }
        }
        self.tell(assigned, Event::Assign);
    }

    fn tell(&mut self, partitions: BTreeMap<u32, Vec<usize>>, event: impl Fn(Vec<usize>) -> Event) {
        for (name, partitions) in partitions {
            if let Some(member) = self.members.get_mut(&name) {
                member.events.push_back(event(partitions));
            }
        }
    }
}
