//! The state at one moment, as the page and `ackonce watch` get it.

use serde::{Deserialize, Serialize};

/// The state of a store, and of the program that serves the console, at one moment.
///
/// Sent as JSON by `api/live`, once a second; [`serde`] reads it back. Further fields may come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// When it was made: milliseconds since 1970 by the clock of the console's host.
    pub at_ms: u64,
    /// The store.
    pub store: StoreView,
    /// The program; `None` for the console of a store alone.
    pub program: Option<ProgramView>,
    /// The runners of the program.
    pub runners: Vec<RunnerView>,
    /// The messages that are with handlers; for the console of a store alone, its claimed records.
    pub running: RunningView,
    /// The newest point of the charts.
    pub point: Option<Point>,
    /// True if the console may redrive and forget.
    pub writes: bool,
}

/// A store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreView {
    /// Its name; empty before it was opened.
    pub name: String,
    /// Everything in its set-up that weakens the promise.
    pub weaknesses: Vec<String>,
    /// Its last answer; `None` before the first.
    pub answer: Option<StoreAnswer>,
    /// Why it does not answer now.
    pub trouble: Option<String>,
}

/// The contents of a store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreAnswer {
    /// The time since the answer, in milliseconds.
    pub age_ms: u64,
    /// The time that it took, in milliseconds.
    pub took_ms: u64,
    /// Bytes of disk or memory, where the store can be asked.
    pub bytes: Option<u64>,
    /// Records by state, of all scopes.
    pub total: StateCounts,
    /// Records by scope and state, the scopes with the most records first; at most 100 of them.
    pub scopes: Vec<ScopeView>,
    /// The number of scopes that are not listed.
    pub further_scopes: usize,
}

/// Numbers of records by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateCounts {
    /// Claimed.
    pub claimed: u64,
    /// Released.
    pub released: u64,
    /// Done.
    pub done: u64,
    /// Buried.
    pub buried: u64,
}

/// The records of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeView {
    /// Its name; `None` for the records whose names are not kept.
    pub scope: Option<String>,
    /// Their numbers.
    #[serde(flatten)]
    pub counts: StateCounts,
}

/// The program that serves the console.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramView {
    /// Its name.
    pub name: String,
    /// True if it makes progress.
    pub live: bool,
    /// True if it takes work.
    pub ready: bool,
    /// Lines about its state, for a person.
    pub report: String,
    /// Messages at the source that are not settled yet, where the source can be asked.
    pub lag: Option<u64>,
}

/// A runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunnerView {
    /// The name of its scope.
    pub scope: String,
    /// The class of its handler.
    pub class: String,
    /// Deliveries taken in and not over yet.
    pub in_flight: u64,
    /// Deliveries taken in.
    pub delivered: u64,
    /// Deliveries that were run and recorded.
    pub completed: u64,
    /// Deliveries found done before.
    pub duplicate: u64,
    /// Deliveries found buried before.
    pub duplicate_of_buried: u64,
    /// Deliveries of an older version than the newest that took effect.
    pub stale: u64,
    /// Deliveries whose message was buried.
    pub buried: u64,
    /// Deliveries that ended unsettled.
    pub handed_back: u64,
    /// Runs to be repeated after a back-off.
    pub retried: u64,
    /// Claims answered busy.
    pub busy: u64,
    /// Leases lost while their handler ran.
    pub lease_lost: u64,
    /// Store calls that failed and were repeated.
    pub store_unavailable: u64,
}

/// The messages that are with handlers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningView {
    /// Their number.
    pub total: u64,
    /// The oldest, at most 100.
    pub messages: Vec<RunningMessageView>,
}

/// A message that is with a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningMessageView {
    /// Its scope; `None` if the name is not kept.
    pub scope: Option<String>,
    /// Its ID: text, or `hex:` and digits; `None` if the name is not kept.
    pub id: Option<String>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The time since the handler began or the claim was granted, in milliseconds.
    pub age_ms: u64,
    /// The rest of the lease in milliseconds; `None` where the program renews it.
    pub lease_ms: Option<u64>,
}

/// One point of each chart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Its number, from 1.
    pub number: u64,
    /// Its time: milliseconds since 1970.
    pub at_ms: u64,
    /// A value for each of the charts, in their order.
    pub values: Vec<f64>,
}

impl StateCounts {
    /// The number of all records.
    #[must_use]
    pub fn sum(&self) -> u64 {
        [self.claimed, self.released, self.done, self.buried].iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}
