//! The history of a fleet: the events of its workers, with their times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that happened to one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEvent {
    /// The process.
    pub pid: u32,
    /// The number of its worker in the fleet, from 0.
    pub worker: usize,
    /// The kind of event.
    pub kind: EventKind,
    /// The earliest time at which it began, in microseconds since the Unix epoch.
    pub from: u64,
    /// The latest time at which it ended, in microseconds since the Unix epoch.
    pub to: u64,
}

/// The kind of event that a process met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was started.
    Started,
    /// It was killed at a random moment.
    Killed,
    /// It killed itself at a named point.
    Crashed {
        /// The point.
        point: String,
    },
    /// It was stopped and continued: from the one to the other it did nothing.
    Paused {
        /// The named point it stopped itself at, unless the moment was random.
        point: Option<String>,
    },
    /// It was asked to end, and did.
    Terminated,
    /// It was asked to end, did not within its grace, and was killed.
    TerminatedByForce,
    /// It ended by itself, without an error.
    Ended,
}

/// Everything that happened to a fleet, in order.
///
/// ```
/// use ackonce_testkit::crash::{EventKind, FleetEvent, History};
/// let killed = FleetEvent { pid: 7, worker: 0, kind: EventKind::Killed, from: 100, to: 120 };
/// let history = History { seed: 1, events: vec![killed] };
/// assert_eq!((history.kills(), history.pauses()), (1, 0));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The seed that decided it.
    pub seed: u64,
    /// The events.
    pub events: Vec<FleetEvent>,
}

impl History {
    /// The number of events for which `kind` is true.
    #[must_use]
    pub fn count(&self, kind: impl Fn(&EventKind) -> bool) -> usize {
        self.events.iter().filter(|event| kind(&event.kind)).count()
    }

    /// Kills at random moments.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.count(|kind| *kind == EventKind::Killed)
    }

    /// Kills at named points.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.count(|kind| matches!(kind, EventKind::Crashed { .. }))
    }

    /// Pauses, random and at named points.
    #[must_use]
    pub fn pauses(&self) -> usize {
        self.count(|kind| matches!(kind, EventKind::Paused { .. }))
    }

    /// The number of crashes and pauses at each named point. A point that is missing was never tested.
    #[must_use]
    pub fn points(&self) -> BTreeMap<&str, usize> {
        let mut hits = BTreeMap::new();
        for event in &self.events {
            if let EventKind::Crashed { point } | EventKind::Paused { point: Some(point) } = &event.kind {
                *hits.entry(point.as_str()).or_default() += 1;
            }
        }
        hits
    }

    /// True if a process died at some moment between the two.
    pub(crate) fn died(&self, pid: u32, from: u64, to: u64) -> bool {
        self.met(pid, from, to, |kind| {
            matches!(kind, EventKind::Killed | EventKind::Crashed { .. } | EventKind::TerminatedByForce)
        })
    }

    /// True if a process was paused at some moment between the two.
    pub(crate) fn paused(&self, pid: u32, from: u64, to: u64) -> bool {
        self.met(pid, from, to, |kind| matches!(kind, EventKind::Paused { .. }))
    }

    fn met(&self, pid: u32, from: u64, to: u64, kind: impl Fn(&EventKind) -> bool) -> bool {
        let mut events = self.events.iter();
        events.any(|e| e.pid == pid && kind(&e.kind) && e.to >= from && e.from <= to)
    }
}
