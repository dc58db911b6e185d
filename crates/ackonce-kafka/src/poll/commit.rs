//! Offsets on their way to the broker: stored with the driver, which commits them without anybody waiting, and
//! confirmed or refused partition by partition.

use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::Poller;
use crate::driver::is_over;
use crate::partition::{CommitMark, Lane, RecordDigest};
use crate::recreated::Commit;
use crate::tracker::PartitionId;

/// The interval at which idle partitions are asked for a position past records that are never delivered.
const POSITIONS: Duration = Duration::from_secs(1);

impl Poller {
    /// Stores offsets that have moved, once in a commit interval.
    pub(crate) fn store_offsets(&mut self) {
        if self.last_store.elapsed() >= self.settings.commit_interval {
            self.skip_what_is_never_delivered();
            self.store_offsets_now();
        }
    }

    pub(crate) fn store_offsets_now(&mut self) {
        self.last_store = Instant::now();
        let (mut list, mut by_hand) = (TopicPartitionList::new(), TopicPartitionList::new());
        for lane in &mut self.lanes {
            let Some((offset, mark)) = lane.next_to_store() else { continue };
            let mark = mark.filter(|_| self.recreated.digests);
            add(&mut list, &lane.assignment.id, offset, mark.as_ref());
            if lane.by_hand && offset != Offset::Invalid {
                add(&mut by_hand, &lane.assignment.id, offset, mark.as_ref());
            }
        }
        if list.count() > 0 {
            let answer = self.consumer.store_offsets(&list);
            for element in list.elements() {
                if let Err(error) = element.error().and(answer.clone()) {
                    self.refused(&(element.topic().into(), element.partition()), &error);
                }
            }
        }
        if by_hand.count() > 0 {
            self.commit_by_hand(&by_hand);
        }
    }

    /// For partitions whose offsets went back: the driver's own commits never do, until this one has arrived. Its answer
    /// is not reported; should it get lost, the next commit covers it, or its messages are found in the store.
    fn commit_by_hand(&mut self, list: &TopicPartitionList) {
        let answer = self.consumer.commit(list, CommitMode::Async);
        for element in list.elements() {
            let id = (element.topic().into(), element.partition());
            match (&answer, element.offset()) {
                (Ok(()), Offset::Offset(next)) => self.taken(&id, next, false),
                (Ok(()), _) => {}
                (Err(error), _) => self.refused(&id, error),
            }
        }
    }

    pub(crate) fn committed(&mut self, answers: Vec<(PartitionId, i64, KafkaResult<()>)>) {
        // A round in which nothing had moved is answered, too.
        if answers.is_empty() {
            return;
        }
        self.health.committed(answers.iter().all(|(_, _, answer)| answer.is_ok()));
        for (id, next, answer) in answers {
            match answer {
                Ok(()) if self.lane(&id).is_some_and(|lane| lane.is_foreign(next)) => {}
                Ok(()) => self.taken(&id, next, true),
                Err(error) => self.refused(&id, &error),
            }
        }
    }

    /// The commit is on its way, or `confirmed`.
    fn taken(&mut self, id: &PartitionId, next: i64, confirmed: bool) {
        if let Some(lane) = self.lane(id) {
            lane.confirmed |= confirmed;
            lane.assignment.tracker().committed(next);
            if self.quiet.over(&key(id)) {
                tracing::warn!(target: "ackonce", scope = self.health.scope(), topic = &*id.0, partition = id.1,
                    "offsets of the partition are committed again");
            }
        }
    }

    /// The records are settled in the store: at worst the messages are redelivered and found there.
    fn refused(&mut self, id: &PartitionId, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => self.recreated.suspected(),
            RDKafkaErrorCode::OffsetMetadataTooLarge => self.recreated.digests = false,
            _ => {}
        }
        let Some(lane) = self.lane(id) else { return };
        if is_over(code) || matches!(error, KafkaError::StoreOffset(_)) && lane.revoked {
            // The partition belongs to others: the driver revokes it, and its next owner reads from the last commit.
            return;
        }
        lane.assignment.tracker().refused();
        if let Some(unsaid) = self.quiet.ask(&key(id)) {
            tracing::warn!(target: "ackonce", scope = self.health.scope(), topic = &*id.0, partition = id.1, %error, unsaid,
                "the offset was not committed; trying again");
        }
    }

    fn lane(&mut self, id: &PartitionId) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.assignment.id == *id)
    }

    /// Control records, aborted transactions and compacted records move the driver's position and are never delivered:
    /// without this, the commit would stay before them.
    fn skip_what_is_never_delivered(&mut self) {
        let idle = |lane: &Lane| {
            lane.empty
                && !lane.revoked
                && !lane.is_sought()
                && lane.due().is_none()
                && lane.assignment.load().ahead == 0
        };
        if self.last_position.elapsed() < POSITIONS || !self.lanes.iter().any(idle) {
            return;
        }
        self.last_position = Instant::now();
        let Ok(list) = self.consumer.position() else { return };
        for element in list.elements() {
            let id = (element.topic().into(), element.partition());
            if let (Offset::Offset(position), Some(lane)) = (element.offset(), self.lane(&id))
                && idle(lane)
            {
                lane.assignment.tracker().skip_to(position);
            }
        }
    }
}

impl Lane {
    /// The offset to give to the driver, if it has moved, and its mark.
    fn next_to_store(&mut self) -> Option<(Offset, Option<CommitMark>)> {
        if let Some(newest) = self.newest.take() {
            self.digests.delivered(&newest);
        }
        let mut tracker = self.assignment.tracker();
        match tracker.to_store() {
            // Before the last commit was read, this one would overwrite it.
            Some(next) if !self.origin.is_unread() => {
                self.unstore = false;
                tracker.stored(next);
                let record = self.digests.before(next);
                Some((Offset::Offset(next), Some(self.mark(record))))
            }
            // The driver would commit the offset of an old record, now or at the end of the assignment.
            _ => std::mem::take(&mut self.unstore).then_some((Offset::Invalid, None)),
        }
    }

    /// As long as the mark of the last commit has not been compared, it stays: it is all that tells the next owner of a topic
    /// that was created again.
    fn mark(&self, record: Option<RecordDigest>) -> CommitMark {
        let present = || CommitMark { record, topic: self.topic_id.clone() };
        self.origin.mark().cloned().unwrap_or_else(present)
    }

    /// True if the broker's answer is to a commit of an old record, which reached it after the topic was created again.
    /// The driver repeats commits that the broker refuses while a topic is missing.
    fn is_foreign(&mut self, next: i64) -> bool {
        let mut tracker = self.assignment.tracker();
        let foreign = match tracker.last_stored() {
            Some(stored) if stored == next => {
                // The driver knows the new offsets by now, and commits them by itself.
                self.by_hand = false;
                false
            }
            Some(stored) => stored < next,
            None => self.by_hand,
        };
        if foreign {
            self.by_hand = true;
            tracker.overwritten();
        }
        foreign
    }

    /// The commit that the broker has now. Where it has none, ours got lost; one past all that was settled, of another ID of
    /// the topic, or before one that was confirmed, is of an old record.
    pub(crate) fn found_commit(&mut self, commit: Option<&Commit>) {
        let other_id = |commit: &Commit| {
            let id = commit.mark.as_ref().and_then(|mark| mark.topic.as_ref());
            self.origin.mark().is_none()
                && id.zip(self.topic_id.as_ref()).is_some_and(|(one, other)| one != other)
        };
        let other_id = commit.is_some_and(other_id);
        let mut tracker = self.assignment.tracker();
        match commit.map(|commit| commit.offset).filter(|_| !other_id) {
            Some(next)
                if tracker.resume().is_none_or(|resume| next <= resume)
                    && tracker.last_committed().is_none_or(|confirmed| confirmed <= next) =>
            {
                self.confirmed = true;
            }
            Some(_) | None => {
                self.by_hand = true;
                tracker.overwritten();
            }
        }
    }
}

fn add(list: &mut TopicPartitionList, id: &PartitionId, offset: Offset, mark: Option<&CommitMark>) {
    let mut element = list.add_partition(&id.0, id.1);
    // The only error is an offset that no broker gives: a negative one. The element then holds none.
    if element.set_offset(offset).is_ok()
        && let Some(mark) = mark.filter(|mark| mark.is_any())
    {
        element.set_metadata(mark.to_string());
    }
}

fn key((topic, partition): &PartitionId) -> String {
    format!("commit {topic}/{partition}")
}
