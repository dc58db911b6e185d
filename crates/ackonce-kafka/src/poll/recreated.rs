//! Acts on the signs of a topic that was created again: its partitions are read from their beginnings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::Order;
use rdkafka::{Offset, TopicPartitionList};

use super::Poller;
use crate::partition::{Due, Lane, Origin};
use crate::recreated::{Answer, Commit, Place, Question};

/// The time that a re-created topic is remembered: the group may take its partitions away and give them back meanwhile.
const RECREATED: Duration = Duration::from_secs(120);

impl Lane {
    fn begin_again(&mut self) {
        self.renew();
        self.read_from(Offset::Beginning);
    }

    /// The commit that it was assigned with.
    fn read_origin(&mut self, commit: Option<Commit>, now: Instant) {
        if let Some(commit) = &commit {
            self.began(commit.offset);
            self.assignment.tracker().committed(commit.offset);
            self.confirmed = true;
        }
        self.origin.read(commit.and_then(|commit| commit.mark), now);
    }
}

impl Poller {
    /// Sends the questions that are due, and acts on answers. It waits for nothing.
    pub(crate) fn look_for_recreated(&mut self) {
        let now = Instant::now();
        let recreated = &self.recreated;
        for (place, answer) in recreated.commits.answers().into_iter().chain(recreated.records.answers()) {
            self.answered(&place, answer, now);
        }
        self.ask_for_origins(now);
        let mut is_taken = true;
        if self.recreated.asks_commits(now) {
            // The answer to a commit by hand is not reported.
            let lanes = self.lanes.iter().filter(|lane| !lane.revoked && (lane.confirmed || lane.by_hand));
            let places: Vec<_> = lanes.map(Place::of).collect();
            is_taken &= places.is_empty() || self.recreated.commits.ask(Question::Commits(places));
        }
        if self.recreated.asks_records(now) {
            let lanes = self.lanes.iter_mut().filter(|lane| !lane.revoked);
            let records: Vec<_> = lanes
                .filter_map(|lane| lane.digests.next_to_compare().map(|digest| (Place::of(lane), digest)))
                .collect();
            is_taken &= records.is_empty() || self.recreated.records.ask(Question::Records(records));
        }
        if !is_taken {
            self.recreated.unanswered(now);
        }
    }

    /// Asks for the commits that partitions were assigned with, and about the records that these name, until there is an
    /// answer.
    fn ask_for_origins(&mut self, now: Instant) {
        let (mut commits, mut records) = (Vec::new(), Vec::new());
        for lane in self.lanes.iter().filter(|lane| !lane.revoked) {
            match lane.origin.due(now) {
                Some(Due::Commit) => commits.push(Place::of(lane)),
                Some(Due::Record(record)) => records.push((Place::of(lane), record)),
                None => {}
            }
        }
        let recreated = &mut self.recreated;
        let commits_taken = !commits.is_empty() && recreated.commits.ask(Question::Commits(commits));
        let records_taken = !records.is_empty() && recreated.records.ask(Question::Records(records));
        for lane in self.lanes.iter_mut().filter(|lane| !lane.revoked) {
            match lane.origin.due(now) {
                Some(Due::Commit) => lane.origin.asked(now, commits_taken),
                Some(Due::Record(_)) => lane.origin.asked(now, records_taken),
                None => {}
            }
        }
    }

    /// New partitions are compared with the marks of their commits: messages in order wait until these are read, the others
    /// run meanwhile.
    pub(crate) fn compare_assigned(&mut self, list: &TopicPartitionList) {
        if self.recreated.signs.records_every.is_none() {
            return;
        }
        let (now, holds) = (Instant::now(), self.settings.intake.order != Order::Unordered);
        let known = |lane: &Lane| list.find_partition(&lane.assignment.id.0, lane.assignment.id.1).is_some();
        for at in 0..self.lanes.len() {
            // Those read from their beginning need no comparison.
            if known(&self.lanes[at]) && !self.is_read_from_beginning(&self.lanes[at].assignment.id.0) {
                self.lanes[at].origin = Origin::unread(now, holds);
            }
        }
    }

    /// The assignment, with partitions of topics that were just created again read from their beginnings: their
    /// commits may be those of the old topic.
    pub(crate) fn beginning_of_recreated(&mut self, list: &TopicPartitionList) -> TopicPartitionList {
        self.recreated.topics.retain(|_, when| when.elapsed() < RECREATED);
        let mut list = list.clone();
        for at in 0..self.lanes.len() {
            let (topic, partition) = self.lanes[at].assignment.id.clone();
            if !self.recreated.topics.contains_key(&topic) || list.find_partition(&topic, partition).is_none()
            {
                continue;
            }
            self.lanes[at].by_hand = true;
            if self.is_read_from_beginning(&topic) {
                // The partition is in the list, which is all that this asks for.
                let _ = list.set_partition_offset(&topic, partition, Offset::Beginning);
            }
        }
        list
    }

    /// True if the topic was just created again, and nothing tells whether a commit is of the new one.
    fn is_read_from_beginning(&self, topic: &str) -> bool {
        let has_marks = self.recreated.digests && self.recreated.ids.contains_key(topic);
        self.recreated.topics.contains_key(topic) && !has_marks
    }

    /// The driver has told the ID of a topic. If it is another one, all of it is read from its beginning.
    pub(crate) fn topic_id(&mut self, topic: &str, id: &str, replaces: bool) {
        if !self.recreated.signs.driver_line {
            return;
        }
        let id: Arc<str> = id.into();
        let before = self.recreated.ids.insert(topic.into(), id.clone());
        let changed = before.map_or(replaces, |before| before != id);
        // A revoked partition's messages, and its last commit, are of the old topic.
        let lanes = self.lanes.iter_mut().filter(|lane| &*lane.assignment.id.0 == topic && !lane.revoked);
        for lane in lanes {
            if changed {
                lane.begin_again();
            }
            lane.topic_id = Some(id.clone());
        }
        if changed {
            self.recreated.topics.insert(topic.into(), Instant::now());
            self.noticed(topic, None, "its ID is another one");
        } else {
            self.compare_ids();
        }
    }

    /// A commit of a topic with another ID needs no look at records.
    fn compare_ids(&mut self) {
        let mut found = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| !lane.revoked) {
            if lane.topic_id.clone().is_some_and(|id| lane.origin.compare_id(&id)) {
                lane.begin_again();
                found.push(lane.assignment.id.clone());
            }
        }
        for (topic, partition) in found {
            self.noticed(&topic, Some(partition), "its committed offset is of another ID of the topic");
        }
    }

    fn answered(&mut self, place: &Place, answer: Answer, now: Instant) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| place.is_of(lane) && !lane.revoked) else {
            return;
        };
        let topic = place.id.0.clone();
        let sign = match answer {
            Answer::Commit(commit) if lane.origin.is_unread() => {
                let has_id = commit.as_ref().is_some_and(Commit::has_id);
                lane.read_origin(commit, now);
                if has_id || !self.recreated.topics.contains_key(&topic) {
                    return self.compare_ids();
                }
                // Nothing says that it is of the new topic; where there is none, `latest` would pass its first messages.
                return lane.begin_again();
            }
            Answer::Commit(None) if lane.confirmed => {
                self.recreated.topics.insert(topic.clone(), Instant::now());
                "its committed offset is gone"
            }
            Answer::Commit(commit) => return lane.found_commit(commit.as_ref()),
            Answer::Same(record) => {
                lane.origin.compared(record);
                return lane.digests.compared(Some(record));
            }
            Answer::Gone(record) => {
                lane.origin.compared(record);
                return lane.digests.compared(None);
            }
            Answer::None => {
                lane.origin.unanswered(now);
                return self.recreated.unanswered(now);
            }
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
