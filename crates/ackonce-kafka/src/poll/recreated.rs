//! Acts on the signs of a topic that was created again: its partitions are read from their beginnings.

use std::time::{Duration, Instant};

use rdkafka::{Offset, TopicPartitionList};

use super::Poller;
use crate::partition::Lane;
use crate::recreated::{Answer, Place, Question};

/// The time that a re-created topic is remembered: the group may take its partitions away and give them back meanwhile.
const RECREATED: Duration = Duration::from_secs(120);
/// The longest that a partition's first commit waits for the comparison: it would overwrite the digest.
const COMPARE: Duration = Duration::from_secs(5);

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
        tracing::warn!(target: "ackonce", scope = self.scope(), topic, partition, sign, unsaid, "the topic was deleted or created again: it is \
            read from its beginning, and messages that took effect are found in the store");
    }
}
