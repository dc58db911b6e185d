//! The runners of a process and the messages that are with their handlers, for a console.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use slab::Slab;

use super::{Counts, Metrics};
use crate::claim::Lease;
use crate::class::Class;
use crate::key::Key;

/// The most messages with handlers that are kept by name; more are counted.
const NAMED: usize = 4096;

static BOARD: OnceLock<Board> = OnceLock::new();

/// The runners of this process and the messages that are with their handlers now.
///
/// A program switches it on, once and for good, before its consumers, layers and runners are made; `ackonce-console` shows
/// it. Until then a run costs one atomic load more, and with it a lock of some tens of nanoseconds at its start and its
/// end. It takes about 100 bytes for each message with a handler, for at most 4096 of them; further ones are counted.
///
/// ```
/// use ackonce::Activity;
///
/// let activity = Activity::switch_on();
/// // Consumers are made and run …
/// for runner in activity.runners() {
///     println!("{}: {} duplicates, {} in flight", runner.scope, runner.counts.duplicate, runner.in_flight);
/// }
/// let now = activity.running(10);
/// println!("{} messages are with a handler, the oldest: {:?}", now.total, now.oldest.first());
/// ```
#[derive(Clone, Copy)]
pub struct Activity(&'static Board);

/// A runner that was made since [`Activity::switch_on`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunnerActivity {
    /// The name of its scope.
    pub scope: String,
    /// The class of its handler.
    pub class: Class,
    /// Its decisions since it was made.
    pub counts: Counts,
    /// Deliveries taken in and not over yet, waiting ones included.
    pub in_flight: u64,
}

/// The messages that are with handlers at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningNow {
    /// Their number.
    pub total: usize,
    /// Those that began first, the oldest first.
    pub oldest: Vec<RunningMessage>,
}

/// A message that is with its handler.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningMessage {
    /// Its scope and ID.
    pub key: Key,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The fence of its claim.
    pub fence: u64,
    /// The time since the handler began.
    pub age: Duration,
}

impl Activity {
    /// Switches it on. Again does no harm.
    pub fn switch_on() -> Self {
        Self(BOARD.get_or_init(Board::default))
    }

    /// The runners that are in use, by scope and class.
    #[must_use]
    pub fn runners(&self) -> Vec<RunnerActivity> {
        let mut found: Vec<_> = {
            let mut runners = lock(&self.0.runners);
            runners.retain(|runner| runner.strong_count() > 0);
            runners.iter().filter_map(Weak::upgrade).map(|metrics| metrics.activity()).collect()
        };
        found.sort_by(|a, b| (&a.scope, a.class.as_str()).cmp(&(&b.scope, b.class.as_str())));
        found
    }

    /// The messages that are with handlers, at most so many of them by name.
    #[must_use]
    pub fn running(&self, most: usize) -> RunningNow {
        let runs = lock(&self.0.runs);
        let mut oldest: Vec<&Run> = runs.named.iter().map(|(_, run)| run).collect();
        let by_age = |a: &&Run, b: &&Run| -> Ordering { (a.since, a.fence).cmp(&(b.since, b.fence)) };
        if most < oldest.len() {
            oldest.select_nth_unstable_by(most, by_age);
            oldest.truncate(most);
        }
        oldest.sort_unstable_by(by_age);
        RunningNow {
            total: runs.named.len() + runs.further,
            oldest: oldest.into_iter().map(Run::message).collect(),
        }
    }
}

impl std::fmt::Debug for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activity").field("running", &self.running(0).total).finish_non_exhaustive()
    }
}

impl Metrics {
    fn activity(&self) -> RunnerActivity {
        let counts = self.counts();
        let over = counts.completed
            + counts.duplicate
            + counts.duplicate_of_buried
            + counts.buried
            + counts.handed_back;
        // The counters are read one after another.
        let in_flight = counts.delivered.saturating_sub(over);
        RunnerActivity { scope: self.scope.clone(), class: self.class, counts, in_flight }
    }
}

/// Names a runner, if the program has a board.
pub(crate) fn register(metrics: &Arc<Metrics>) {
    if let Some(board) = BOARD.get() {
        lock(&board.runners).push(Arc::downgrade(metrics));
    }
}

/// The entries of one run, until it is dropped; nothing without a board. Small, since the future of each message has one.
pub(super) struct Listed {
    _entries: Option<Box<Entries>>,
}

struct Entries {
    board: &'static Board,
    named: Vec<usize>,
    further: usize,
}

impl Listed {
    pub(super) fn new<'a>(leases: impl Iterator<Item = &'a Lease>, since: Instant) -> Self {
        let Some(board) = BOARD.get() else { return Self { _entries: None } };
        let mut entries = Entries { board, named: Vec::with_capacity(leases.size_hint().0), further: 0 };
        let mut runs = lock(&board.runs);
        for lease in leases {
            if runs.named.len() < NAMED {
                let Lease { key, fence, attempt, .. } = lease;
                let run = Run { key: key.clone(), attempt: *attempt, fence: *fence, since };
                entries.named.push(runs.named.insert(run));
            } else {
                entries.further += 1;
            }
        }
        runs.further += entries.further;
        drop(runs);
        Self { _entries: Some(Box::new(entries)) }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        let mut runs = lock(&self.board.runs);
        runs.further = runs.further.saturating_sub(self.further);
        for &entry in &self.named {
            runs.named.try_remove(entry);
        }
    }
}

#[derive(Default)]
struct Board {
    runners: Mutex<Vec<Weak<Metrics>>>,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    named: Slab<Run>,
    /// Messages with a handler that are not named.
    further: usize,
}

struct Run {
    key: Key,
    attempt: u32,
    fence: u64,
    since: Instant,
}

impl Run {
    fn message(&self) -> RunningMessage {
        let Self { key, attempt, fence, since } = self;
        RunningMessage { key: key.clone(), attempt: *attempt, fence: *fence, age: since.elapsed() }
    }
}

/// Held for a few entries, or for a copy of them, never across an await.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
