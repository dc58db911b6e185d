//! A topic that is deleted and created again under a running consumer has other records at known offsets, and nobody
//! says so: the driver keeps its positions, and would skip the new records before them.
//!
//! Three signs tell. The driver's debug line about the topic's ID comes within a second. The broker deletes a topic's
//! commits with it, so a confirmed commit that is gone is one. And a record that was delivered is another one now, by
//! the digest that its commit carries. Each makes the partition be read from its beginning; messages that took effect
//! are found in the store, so a false alarm costs lookups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::inquiry::{Answer, Inquiry, Place, Question};
use crate::lane::Lane;
use crate::poll::Poller;
use crate::waker::Waker;

/// The time that a re-created topic is remembered: the group may take its partitions away and give them back meanwhile.
const RECREATED: Duration = Duration::from_secs(120);
/// The least time between two looks at the commits, however many errors ask for one.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest that a partition's first commit waits for the comparison: it would overwrite the digest.
const COMPARE: Duration = Duration::from_secs(5);

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
    signs: Signs,
    inquiry: Inquiry,
    /// Topics that were created again, and when they were noticed.
    topics: HashMap<Arc<str>, Instant>,
    commits_at: Instant,
    commits_looked: Instant,
    records_at: Instant,
    /// False once the broker has refused metadata of this length.
    pub(crate) digests: bool,
}

impl Recreated {
    pub(crate) fn new(signs: Signs, consumer: &ClientConfig, wake: Arc<Waker>) -> Self {
        let now = Instant::now();
        Self {
            signs,
            inquiry: Inquiry::new(consumer, wake),
            topics: HashMap::new(),
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

    fn asks_commits(&mut self, now: Instant) -> bool {
        let Some(every) = self.signs.commits_every.filter(|_| self.commits_at <= now) else { return false };
        self.commits_at = now + every;
        self.commits_looked = now;
        true
    }

    fn asks_records(&mut self, now: Instant) -> bool {
        let Some(every) = self.signs.records_every.filter(|_| self.records_at <= now) else { return false };
        self.records_at = now + every;
        true
    }
}

impl Lane {
    /// True if its commit waits for the comparison.
    pub(crate) fn is_comparing(&self, now: Instant) -> bool {
        self.comparing_until.is_some_and(|until| until > now)
    }

    fn begin_again(&mut self) {
        self.renew();
        self.read_from(Offset::Beginning);
    }
}

impl Poller {
    /// Sends the questions that are due, and acts on answers. It waits for nothing.
    pub(crate) fn look_for_recreated(&mut self) {
        let now = Instant::now();
        for (place, answer) in self.recreated.inquiry.answers() {
            self.answered(&place, &answer);
        }
        if self.recreated.asks_commits(now) {
            // The answer to a commit by hand is not reported.
            let lanes = self.lanes.iter().filter(|lane| !lane.revoked && (lane.confirmed || lane.by_hand));
            let places: Vec<_> = lanes.map(Place::of).collect();
            if !places.is_empty() {
                self.recreated.inquiry.ask(Question::Commits(places));
            }
        }
        if self.recreated.asks_records(now) {
            let lanes = self.lanes.iter_mut().filter(|lane| !lane.revoked);
            let records: Vec<_> = lanes
                .filter_map(|lane| lane.digests.next_to_compare().map(|digest| (Place::of(lane), digest)))
                .collect();
            if !records.is_empty() {
                self.recreated.inquiry.ask(Question::Records(records));
            }
        }
    }

    /// Compares new partitions with the digests of their commits. Messages run meanwhile; the first commit waits, as
    /// it would overwrite the digest.
    pub(crate) fn compare_assigned(&mut self, list: &TopicPartitionList) {
        if self.recreated.signs.records_every.is_none() {
            return;
        }
        let known = |lane: &Lane| list.find_partition(&lane.assignment.id.0, lane.assignment.id.1).is_some();
        // Those read from their beginning need no comparison.
        let lanes = || self.lanes.iter().filter(|lane| !lane.by_hand && known(lane));
        let places: Vec<_> = lanes().map(Place::of).collect();
        if places.is_empty() || !self.recreated.inquiry.ask(Question::Assigned(places)) {
            return;
        }
        let until = Instant::now() + COMPARE;
        for lane in self.lanes.iter_mut().filter(|lane| !lane.by_hand && known(lane)) {
            lane.comparing_until = Some(until);
        }
    }

    /// The assignment, with partitions of topics that were just created again read from their beginnings: their
    /// commits may be those of the old topic.
    pub(crate) fn beginning_of_recreated(&mut self, list: &TopicPartitionList) -> TopicPartitionList {
        self.recreated.topics.retain(|_, when| when.elapsed() < RECREATED);
        let mut list = list.clone();
        for lane in &mut self.lanes {
            let (topic, partition) = (&lane.assignment.id.0, lane.assignment.id.1);
            if self.recreated.topics.contains_key(topic)
                && list.set_partition_offset(topic, partition, Offset::Beginning).is_ok()
            {
                lane.by_hand = true;
            }
        }
        list
    }

    /// The driver has found another ID of the topic: all of it is read from its beginning.
    pub(crate) fn topic_changed(&mut self, topic: &str) {
        if !self.recreated.signs.driver_line {
            return;
        }
        let lanes = self.lanes.iter_mut().filter(|lane| &*lane.assignment.id.0 == topic && !lane.revoked);
        lanes.for_each(Lane::begin_again);
        self.recreated.topics.insert(topic.into(), Instant::now());
        self.noticed(topic, None, "its ID is another one");
    }

    fn answered(&mut self, place: &Place, answer: &Answer) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| place.is_of(lane) && !lane.revoked) else {
            return;
        };
        let topic = place.id.0.clone();
        let sign = match *answer {
            Answer::Compared { committed, digest } => {
                lane.comparing_until = None;
                lane.digests.compared(digest);
                if let Some(committed) = committed {
                    lane.assignment.tracker().committed(committed);
                    lane.confirmed = true;
                }
                return;
            }
            Answer::Committed(None) if lane.confirmed => {
                self.recreated.topics.insert(topic.clone(), Instant::now());
                "its committed offset is gone"
            }
            Answer::Committed(committed) => return lane.found_commit(committed),
            // An election of a replica that was behind changes one partition: each is compared by itself.
            Answer::Changed(sign) => sign,
        };
        lane.begin_again();
        self.noticed(&topic, Some(place.id.1), sign);
    }

    fn noticed(&mut self, topic: &str, partition: Option<i32>, sign: &'static str) {
        // Signs of all partitions come together, and a second sign of the same event may follow.
        let Some(unsaid) = self.quiet.ask(&format!("recreated {topic}")) else { return };
        self.health.recreated();
        tracing::warn!(target: "ackonce", topic, partition, sign, unsaid, "the topic was deleted or created again: it is \
            read from its beginning, and messages that took effect are found in the store");
    }
}
