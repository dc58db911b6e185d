//! Topics that are deleted and created again under a running consumer.
//!
//! Such a topic has other records at known offsets, and nobody says so: the driver keeps its positions, and would skip the
//! new records before them.
//!
//! Three signs tell. The driver's debug line about the topic's ID comes within a second; each commit carries that ID, so that
//! a process that starts later tells a commit of the old topic. The broker deletes a topic's commits with it, so a
//! confirmed commit that is gone is a sign. And a record that was delivered is another one now, by the digest that its commit
//! carries. Each makes the partition be read from its beginning; messages that took effect are found in the store, so
//! a false alarm costs lookups.

mod inquiry;
mod reader;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;

pub(crate) use self::inquiry::{Answer, Commit, Inquiry, Place, Question};
use crate::driver::Waker;

/// The least time between two looks at the commits, however many errors ask for one.
const AGAIN: Duration = Duration::from_secs(1);
/// The time after which a look that got no answer is made again.
const UNANSWERED: Duration = Duration::from_secs(10);
/// The signs that are looked for. For tests, which try each alone.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Signs {
    pub driver_line: bool,
    pub commits_every: Option<Duration>,
    pub records_every: Option<Duration>,
}

impl Default for Signs {
    fn default() -> Self {
        let (commits, records) = (Duration::from_secs(30), Duration::from_secs(300));
        Self { driver_line: true, commits_every: Some(commits), records_every: Some(records) }
    }
}

/// The state of the search.
pub(crate) struct Recreated {
    pub(crate) signs: Signs,
    /// Asks for commits. Messages may wait for its answer, so it never waits for records.
    pub(crate) commits: Inquiry,
    pub(crate) records: Inquiry,
    /// Topics that were created again, and when they were noticed.
    pub(crate) topics: HashMap<Arc<str>, Instant>,
    /// The ID of each topic, as the driver told it last.
    pub(crate) ids: HashMap<Arc<str>, Arc<str>>,
    commits_at: Instant,
    commits_looked: Instant,
    records_at: Instant,
    /// False once the broker has refused metadata of this length.
    pub(crate) digests: bool,
}

impl Recreated {
    pub(crate) fn new(signs: Signs, consumer: &ClientConfig, wake: Arc<Waker>, scope: &Arc<str>) -> Self {
        let now = Instant::now();
        Self {
            signs,
            commits: Inquiry::new(consumer, wake.clone(), scope.clone()),
            records: Inquiry::new(consumer, wake, scope.clone()),
            topics: HashMap::new(),
            ids: HashMap::new(),
            commits_at: now + signs.commits_every.unwrap_or_default(),
            commits_looked: now,
            records_at: now + signs.records_every.unwrap_or_default(),
            digests: signs.records_every.is_some(),
        }
    }

    /// An error told that a topic or partition is unknown: its commit is looked for soon.
    pub(crate) fn suspected(&mut self) {
        self.commits_at = self.commits_at.min(self.commits_looked + AGAIN);
    }

    /// A look got no answer, or was not taken. Nothing is known by it.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.commits_at = self.commits_at.min(now + UNANSWERED);
        self.records_at = self.records_at.min(now + UNANSWERED);
    }

    pub(crate) fn asks_commits(&mut self, now: Instant) -> bool {
        let Some(every) = self.signs.commits_every.filter(|_| self.commits_at <= now) else { return false };
        self.commits_at = now + every;
        self.commits_looked = now;
        true
    }

    pub(crate) fn asks_records(&mut self, now: Instant) -> bool {
        let Some(every) = self.signs.records_every.filter(|_| self.records_at <= now) else { return false };
        self.records_at = now + every;
        true
    }
}
