//! The commit that a partition was assigned with. Until a comparison has shown that it is of the records that are there now, it
//! is the only evidence of a topic that was created again.

use std::time::{Duration, Instant};

use super::digest::RecordDigest;
use super::mark::CommitMark;

/// Between two questions, where the first one got no answer.
const AGAIN: Duration = Duration::from_secs(1);
/// After it, an answer is taken to be lost.
const LOST: Duration = Duration::from_secs(30);
/// The longest that messages in order wait for the group's commit to be read. It is asked of the coordinator that has just
/// assigned the partition.
const HOLD: Duration = Duration::from_secs(5);

/// A question that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// For the commit and its mark.
    Commit,
    /// Whether the record is still this one.
    Record(RecordDigest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The commit has not been read: nothing may be committed, as it would be overwritten.
    Unread,
    /// Its mark has not been compared: it goes with each commit, for the next owner.
    Open(CommitMark),
    /// It is of the present records, or says nothing.
    Known,
}

/// The commit that a partition was assigned with.
#[derive(Debug)]
pub(crate) struct Origin {
    state: State,
    ask_at: Instant,
    /// Messages in order wait until then.
    hold_until: Option<Instant>,
}

impl Origin {
    /// There is nothing to compare.
    pub(crate) fn known() -> Self {
        Self { state: State::Known, ask_at: Instant::now(), hold_until: None }
    }

    /// Nothing is known yet. With `holds` no message is read meanwhile, so that those of a new topic come in their order.
    pub(crate) fn unread(now: Instant, holds: bool) -> Self {
        Self { state: State::Unread, ask_at: now, hold_until: holds.then(|| now + HOLD) }
    }

    pub(crate) fn is_unread(&self) -> bool {
        self.state == State::Unread
    }

    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.is_unread() && self.hold_until.is_some_and(|until| until > now)
    }

    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        let due = match &self.state {
            State::Unread => Due::Commit,
            State::Open(mark) => Due::Record(mark.record?),
            State::Known => return None,
        };
        (self.ask_at <= now).then_some(due)
    }

    /// The question was taken, or there was no room for it.
    pub(crate) fn asked(&mut self, now: Instant, is_taken: bool) {
        self.ask_at = now + if is_taken { LOST } else { AGAIN };
    }

    /// There was no answer: nothing is known, and it is asked again.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.ask_at = self.ask_at.min(now + AGAIN);
    }

    /// The commit was read.
    pub(crate) fn read(&mut self, mark: Option<CommitMark>, now: Instant) {
        self.state = mark.map_or(State::Known, State::Open);
        self.ask_at = now;
    }

    /// The record is the same, or retention has removed it.
    pub(crate) fn compared(&mut self, record: RecordDigest) {
        if self.mark().is_some_and(|mark| mark.record == Some(record)) {
            self.state = State::Known;
        }
    }

    /// True if the commit is of a topic with another ID.
    pub(crate) fn compare_id(&mut self, topic: &str) -> bool {
        let Some(known) = self.mark().and_then(|mark| mark.topic.as_deref()) else { return false };
        let differs = known != topic;
        // With a record, that is compared as well: a replica that was behind may have been elected.
        if !differs && self.mark().is_some_and(|mark| mark.record.is_none()) {
            self.state = State::Known;
        }
        differs
    }

    /// The mark that has not been compared.
    pub(crate) fn mark(&self) -> Option<&CommitMark> {
        match &self.state {
            State::Open(mark) => Some(mark),
            State::Unread | State::Known => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mark(offset: &str, topic: Option<&str>) -> CommitMark {
        CommitMark { record: RecordDigest::parse(offset, "0a"), topic: topic.map(Into::into) }
    }

    #[test]
    fn a_commit_that_could_not_be_read_is_asked_for_again_and_does_not_agree() {
        let now = Instant::now();
        let mut origin = Origin::unread(now, true);
        assert_eq!(origin.due(now), Some(Due::Commit));
        origin.asked(now, false);
        assert_eq!((origin.due(now), origin.due(now + AGAIN)), (None, Some(Due::Commit)), "it was not taken");
        origin.asked(now, true);
        assert_eq!((origin.due(now + AGAIN), origin.due(now + LOST)), (None, Some(Due::Commit)));
        origin.unanswered(now);
        assert_eq!(origin.due(now + AGAIN), Some(Due::Commit));
        assert!(origin.is_unread(), "nothing is committed");
        assert!(origin.holds(now) && !origin.holds(now + HOLD), "messages wait, and not for ever");
    }

    #[test]
    fn a_mark_is_kept_and_asked_about_until_its_comparison_is_answered() {
        let now = Instant::now();
        let mut origin = Origin::unread(now, true);
        let commit = mark("7", Some("A"));
        origin.read(Some(commit.clone()), now);
        assert!(!origin.holds(now) && !origin.is_unread());
        let record = commit.record.unwrap();
        assert_eq!(origin.due(now), Some(Due::Record(record)));
        origin.asked(now, true);
        origin.unanswered(now);
        assert_eq!((origin.mark(), origin.due(now + AGAIN)), (Some(&commit), Some(Due::Record(record))));
        origin.compared(RecordDigest::parse("9", "0a").unwrap());
        assert_eq!(origin.mark(), Some(&commit), "the answer was about another record");
        assert!(!origin.compare_id("A"));
        assert_eq!(origin.mark(), Some(&commit), "a replica that was behind may have been elected");
        origin.compared(record);
        assert_eq!((origin.mark(), origin.due(now + LOST)), (None, None));
    }

    #[test]
    fn a_commit_of_a_topic_with_another_id_is_told_without_its_record() {
        let now = Instant::now();
        let mut origin = Origin::unread(now, true);
        assert!(!origin.compare_id("B"), "it has not been read");
        origin.read(Some(mark("7", Some("A"))), now);
        assert!(origin.compare_id("B"));
        origin.read(Some(mark("7", None)), now);
        assert!(!origin.compare_id("B"), "it has no ID");
        origin.read(Some(CommitMark { record: None, topic: Some("B".into()) }), now);
        assert_eq!(origin.due(now), None);
        assert!(!origin.compare_id("B") && origin.mark().is_none());
    }
}
