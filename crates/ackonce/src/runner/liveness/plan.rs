//! The plan of a case: partitions with their messages, the fault of each, and the faults around them.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::settings::{Backoff, Settings};

pub(super) const ATTEMPTS: u32 = 4;
pub(super) const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };
pub(super) const LEASE: Duration = Duration::from_secs(10);
pub(super) const RUN_LIMIT: Duration = Duration::from_secs(25);

/// The results of a message's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Succeeds,
    /// Succeeds after so many runs that ended like this.
    After(u32, Wrong),
    /// Its dependency is down until all others are over.
    Stuck,
    Permanent,
    /// Fails for good, and no dead-letter place will ever take it.
    Unburiable,
    /// Succeeds, with an outcome that the store cannot keep.
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Retry,
    Infrastructure,
    Unknown,
    Panics,
    Hangs,
}

/// One message, or a second copy of an earlier one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) behaviour: Behaviour,
    pub(super) takes: Duration,
    /// Its ID is that of this other message, counted from the first one of all.
    pub(super) copy_of: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// Calls fail and are not applied.
    Before,
    /// They are applied, and the answer is lost.
    After,
    /// They are never answered.
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Partition,
    Unordered,
    Batches,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) partitions: Vec<Vec<Message>>,
    pub(super) order: Order,
    pub(super) concurrency: usize,
    pub(super) chunk: usize,
    /// Messages of one partition that the runner may have at once.
    pub(super) per_lane: usize,
    /// True if the dead-letter place is away until all that do not need it are over.
    pub(super) place_is_away: bool,
    /// From when, for how long.
    pub(super) outages: Vec<(Duration, Duration, Outage)>,
    /// When a partition goes to the other consumer.
    pub(super) moves: Vec<(Duration, usize)>,
    /// When the first consumer is killed.
    pub(super) kill: Option<Duration>,
}

fn ms(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

/// `share` in 20 are not plain.
fn message(share: u32) -> impl Strategy<Value = Message> {
    use Wrong::{Hangs, Infrastructure, Panics, Retry, Unknown};
    let wrong = prop_oneof![Just(Retry), Just(Infrastructure), Just(Unknown), Just(Panics)];
    let odd = prop_oneof![
        3 => (1..=ATTEMPTS, wrong).prop_map(|(n, wrong)| Behaviour::After(n, wrong)),
        1 => (5..12_u32).prop_map(|n| Behaviour::After(n, Infrastructure)),
        1 => Just(Behaviour::After(1, Hangs)),
        2 => Just(Behaviour::Stuck),
        2 => Just(Behaviour::Permanent),
        1 => Just(Behaviour::Unburiable),
        1 => Just(Behaviour::TooLong),
    ];
    let behaviour = prop_oneof![20 - share => Just(Behaviour::Succeeds), share => odd];
    let copy = proptest::option::weighted(0.05, 0..100_usize);
    (behaviour, ms(0..300), copy).prop_map(|(behaviour, takes, copy_of)| Message {
        behaviour,
        takes: if behaviour == Behaviour::Stuck { Duration::ZERO } else { takes },
        copy_of,
    })
}

/// Half of the partitions have no trouble of their own, or little.
fn partition() -> impl Strategy<Value = Vec<Message>> {
    let messages = |share| proptest::collection::vec(message(share), 0..25);
    prop_oneof![messages(10), messages(1)]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let outage = prop_oneof![Just(Outage::Before), Just(Outage::After), Just(Outage::Hangs)];
    let partitions = proptest::collection::vec(partition(), 1..7);
    let order =
        prop_oneof![3 => Just(Order::Partition), 1 => Just(Order::Unordered), 1 => Just(Order::Batches)];
    let outages = proptest::collection::vec((ms(0..20_000), ms(0..30_000), outage), 0..2);
    let moves = proptest::collection::vec((ms(0..20_000), 0..6_usize), 0..4);
    let kill = proptest::option::weighted(0.3, ms(0..20_000));
    (partitions, order, 1..6_usize, 1..6_usize, 1..24_usize, any::<bool>(), outages, moves, kill).prop_map(
        |(partitions, order, concurrency, chunk, per_lane, place_is_away, outages, moves, kill)| {
            let mut plan =
                Plan { partitions, order, concurrency, chunk, per_lane, place_is_away, outages, moves, kill };
            plan.link_copies();
            plan
        },
    )
}

impl Plan {
    /// Copies are of messages that are there and are no copies, and behave as these.
    fn link_copies(&mut self) {
        let mut first = Vec::new();
        for message in self.partitions.iter_mut().flatten() {
            let of = message.copy_of.filter(|_| !first.is_empty()).map(|n| n % first.len());
            let of = of.map(|n| first[n]);
            match of {
                Some((id, behaviour, takes)) => *message = Message { behaviour, takes, copy_of: Some(id) },
                None => message.copy_of = None,
            }
            first.push(of.unwrap_or((first.len(), message.behaviour, message.takes)));
        }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings::default()
            .with_lease(LEASE)
            .with_attempts(ATTEMPTS)
            .with_backoff(BACKOFF)
            .with_handler_timeout(RUN_LIMIT)
            .with_concurrency(self.concurrency)
            .with_chunk(self.chunk)
    }

    /// IDs by partition and offset.
    pub(super) fn ids(&self) -> Vec<Vec<usize>> {
        let mut n = 0;
        let mut id = |message: &Message| {
            n += 1;
            message.copy_of.unwrap_or(n - 1)
        };
        self.partitions.iter().map(|partition| partition.iter().map(&mut id).collect()).collect()
    }

    /// Messages by their ID.
    pub(super) fn messages(&self) -> HashMap<usize, Message> {
        let all = self.ids().into_iter().flatten().zip(self.partitions.iter().flatten().copied());
        all.filter(|(_, message)| message.copy_of.is_none()).collect()
    }

    /// True if something may cost a claim that was held, or its answer.
    pub(super) fn is_calm(&self) -> bool {
        self.outages.is_empty() && self.moves.is_empty() && self.kill.is_none()
    }

    /// True if it waits until [`World::release`](super::world::World) says so.
    pub(super) fn waits(&self, message: &Message) -> bool {
        let buried = match message.behaviour {
            Behaviour::Succeeds => false,
            Behaviour::After(n, wrong) => n >= ATTEMPTS && wrong != Wrong::Infrastructure,
            Behaviour::Stuck => return true,
            // Asked for before it is said that this will never be.
            Behaviour::Permanent | Behaviour::Unburiable | Behaviour::TooLong => true,
        };
        // A message that loses its claim may use up its attempts.
        self.place_is_away && (buried || (!self.is_calm() && message.behaviour != Behaviour::Succeeds))
    }

    /// When all that goes wrong around the messages is over: outages, and a call that is never answered at their end;
    /// claims of a consumer that is gone; a back-off that began meanwhile.
    fn quiet(&self) -> Duration {
        let over = self.outages.iter().map(|(from, length, outage)| {
            let last = if *outage == Outage::Hangs { Duration::from_secs(60) } else { Duration::ZERO };
            *from + *length + last
        });
        let times = self.moves.iter().map(|(at, _)| *at).chain(self.kill).chain(over);
        times.max().map_or(Duration::ZERO, |last| last + LEASE + BACKOFF.max * 2)
    }

    /// When a partition must be over if none of its messages waits to be released: nothing of the others counts but
    /// the time that their handlers take.
    pub(super) fn bound(&self, partition: usize) -> Duration {
        let disturbances = u32::try_from(self.outages.len() + self.moves.len() + 1).unwrap_or(u32::MAX);
        let again = if self.is_calm() { 1 } else { 1 + disturbances };
        let work: Duration = self.messages().values().map(|message| runs(message) * again).sum();
        let messages = self.messages();
        let waits = |id: &usize| waits(&messages[id]) * again;
        let own: Duration = self.ids()[partition].iter().map(waits).sum();
        let batch = match self.order {
            // A message that runs again goes on alone, behind batches that may be as long as this.
            Order::Batches => work,
            _ => Duration::ZERO,
        };
        self.quiet() + work + own + batch + Duration::from_secs(5)
    }

    /// The most runs of one message whose dependency was down all the time until `end`; each of its copies counts for
    /// itself.
    pub(super) fn most_asked(&self, id: usize, end: Duration) -> usize {
        let copies = self.ids().iter().flatten().filter(|other| **other == id).count();
        let growing = 8 * (2 + self.moves.len() + usize::from(self.kill.is_some()) + self.outages.len());
        let steady = usize::try_from(end.as_millis() / BACKOFF.max.as_millis()).unwrap_or(usize::MAX);
        copies * (growing + steady)
    }
}

/// The time that handlers of one message take in all.
fn runs(message: &Message) -> Duration {
    match message.behaviour {
        Behaviour::After(n, Wrong::Hangs) => message.takes + RUN_LIMIT * n,
        Behaviour::After(n, _) => message.takes * (n + 1),
        _ => message.takes,
    }
}

/// The time that one message waits, in all.
fn waits(message: &Message) -> Duration {
    let seconds = |n| Duration::from_secs(n);
    let of_all = match message.behaviour {
        Behaviour::After(n, Wrong::Hangs) => (LEASE + BACKOFF.max + seconds(1)) * n,
        Behaviour::After(n, _) => {
            (0..n).map(|n| (BACKOFF.min * 2 * 2_u32.pow(n.min(8))).min(BACKOFF.max)).sum()
        }
        _ => Duration::ZERO,
    };
    // A copy of it may be under way: it is asked for again after a second at most.
    of_all + if message.copy_of.is_some() { runs(message) + seconds(2) } else { seconds(2) }
}
