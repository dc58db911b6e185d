//! The offset that may be committed: the contiguous settled prefix of a partition, and nothing past it.
//!
//! Pure bookkeeping, without a broker. Offsets settle out of order, so each delivered offset is kept until everything
//! before it is settled. A tracker belongs to one assignment of one partition: a partition that was lost and regained
//! gets a new one, in which deliveries of the old one change nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Topic and partition number.
pub type PartitionId = (Arc<str>, i32);

/// The state of one delivered offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Queued, claimed or running.
    InFlight,
    /// Another delivery of its message holds the claim.
    Busy,
    /// Waits to be attempted again.
    Retrying,
    /// On its way to the dead-letter topic.
    Burying,
    /// On its way to a retry topic.
    Moving,
    /// Its handler ran and the store recorded it.
    Settled,
    /// The store had a record of it.
    Duplicate,
    /// Buried and recorded.
    Buried,
    /// Confirmed in a retry topic, from which it is delivered again.
    Moved,
    /// Handed back unsettled: the offset stays in place for its next reader.
    Abandoned,
}

impl Status {
    /// True if the offset may be committed past.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Settled | Self::Duplicate | Self::Buried | Self::Moved)
    }

    /// True if work on it goes on.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::InFlight | Self::Busy | Self::Retrying | Self::Burying | Self::Moving)
    }
}

/// The delivered offsets of one assignment.
#[derive(Debug, Default)]
pub struct PartitionTracker {
    /// Delivered and not yet committed past, in order. Offsets may have gaps: compaction, transactions.
    entries: VecDeque<(i64, Status)>,
    open: usize,
    last_delivered: Option<i64>,
    /// The position of the driver that the commit was moved to.
    skipped: Option<i64>,
    /// The next offset to read: one past the last of the settled prefix. `None` until an offset settled.
    resume: Option<i64>,
    /// The last offset given to the driver to commit, and the last that the broker confirmed.
    stored: Option<i64>,
    committed: Option<i64>,
    /// Since when the first entry has been the first.
    first_since: Option<Instant>,
}

impl PartitionTracker {
    /// A tracker without offsets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A tracker for the same partition after a seek back: the offset to commit stays.
    #[must_use]
    pub(crate) fn restarted(&self) -> Self {
        Self { resume: self.resume, stored: self.stored, committed: self.committed, ..Self::default() }
    }

    /// Records a delivered offset. False if it is not past the last one and past what was skipped: then the broker has gone back (a reset, a
    /// re-created topic) and the partition needs a new tracker.
    pub fn delivered(&mut self, offset: i64, now: Instant) -> bool {
        // An offset that the driver was past would be a hole in the commit.
        let went_back = self.skipped.is_some_and(|position| offset < position);
        if went_back || self.last_delivered.is_some_and(|last| offset <= last) {
            return false;
        }
        if self.entries.is_empty() {
            self.first_since = Some(now);
        }
        self.last_delivered = Some(offset);
        self.entries.push_back((offset, Status::InFlight));
        self.open += 1;
        true
    }

    /// Records the state of a delivered offset. False if its end is recorded already.
    pub fn mark(&mut self, offset: i64, status: Status, now: Instant) -> bool {
        let Ok(at) = self.entries.binary_search_by_key(&offset, |(o, _)| *o) else { return false };
        let was = self.entries[at].1;
        if !was.is_open() {
            return false;
        }
        self.entries[at].1 = status;
        if !status.is_open() {
            self.open -= 1;
        }
        while let Some((offset, _)) = self.entries.front().filter(|(_, s)| s.is_settled()) {
            self.resume = Some(offset + 1);
            self.first_since = Some(now);
            self.entries.pop_front();
        }
        true
    }

    /// Moves past offsets that are never delivered: control records, aborted transactions, compacted records.
    /// `position` is the next offset that the driver would give; ignored while anything is unsettled.
    pub fn skip_to(&mut self, position: i64) {
        if self.entries.is_empty() && self.resume.is_none_or(|resume| resume < position) {
            (self.resume, self.skipped) = (Some(position), Some(position));
        }
    }

    /// The offset to give to the driver, where it has moved since [`stored`](Self::stored). It is past the last
    /// settled offset already; do not add one.
    #[must_use]
    pub fn to_store(&self) -> Option<i64> {
        self.resume.filter(|resume| self.stored.is_none_or(|stored| stored < *resume))
    }

    /// The driver has it.
    pub fn stored(&mut self, next: i64) {
        self.stored = self.stored.max(Some(next));
    }

    /// The broker has confirmed it.
    pub fn committed(&mut self, next: i64) {
        self.committed = self.committed.max(Some(next));
    }

    /// The broker has refused it: it is offered to the driver again.
    pub fn refused(&mut self) {
        self.stored = self.committed;
    }

    /// The broker has a commit that is not of these records: the offset is offered to the driver again.
    pub(crate) fn overwritten(&mut self) {
        self.stored = None;
    }

    /// The last offset that was given to the driver.
    pub(crate) fn last_stored(&self) -> Option<i64> {
        self.stored
    }

    /// The next offset to read after a restart of the process, as the broker knows it.
    #[must_use]
    pub fn last_committed(&self) -> Option<i64> {
        self.committed
    }

    /// The next offset to read once all commits have arrived.
    #[must_use]
    pub fn resume(&self) -> Option<i64> {
        self.resume
    }

    /// The last delivered offset.
    #[must_use]
    pub fn last_delivered(&self) -> Option<i64> {
        self.last_delivered
    }

    /// The number of delivered offsets that are in work.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// The number of offsets delivered from the first unsettled one on: a restart reads so many again.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.entries.len()
    }

    /// The first unsettled offset, which holds the commit back: its state, and since when it has been the first.
    #[must_use]
    pub fn oldest(&self) -> Option<(i64, Status, Instant)> {
        let (offset, status) = self.entries.front()?;
        Some((*offset, *status, self.first_since?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn delivered(offsets: &[i64]) -> PartitionTracker {
        let mut tracker = PartitionTracker::new();
        offsets.iter().for_each(|offset| assert!(tracker.delivered(*offset, Instant::now())));
        tracker
    }

    #[test]
    fn the_next_offset_to_read_is_stored_gaps_and_all() {
        let mut tracker = delivered(&[3, 7, 15]);
        let now = Instant::now();
        assert!(tracker.mark(7, Status::Settled, now) && tracker.mark(15, Status::Buried, now));
        assert_eq!((tracker.to_store(), tracker.ahead(), tracker.open()), (None, 3, 1));
        assert_eq!(tracker.oldest().map(|(offset, status, _)| (offset, status)), Some((3, Status::InFlight)));
        assert!(tracker.mark(3, Status::Moved, now));
        assert_eq!((tracker.to_store(), tracker.ahead(), tracker.oldest()), (Some(16), 0, None));
        tracker.stored(16);
        assert_eq!(tracker.to_store(), None);
        tracker.refused();
        assert_eq!(tracker.to_store(), Some(16), "a refused commit is tried again");
    }

    #[test]
    fn an_abandoned_offset_is_never_committed_past() {
        let mut tracker = delivered(&[0, 1]);
        let now = Instant::now();
        assert!(tracker.mark(0, Status::Abandoned, now) && tracker.mark(1, Status::Settled, now));
        assert_eq!((tracker.to_store(), tracker.open(), tracker.oldest().map(|o| o.0)), (None, 0, Some(0)));
        assert!(!tracker.mark(0, Status::Settled, now), "its end is recorded");
        let again = tracker.restarted();
        assert_eq!((again.ahead(), again.last_delivered()), (0, None));
    }

    #[test]
    fn what_was_stored_and_committed_only_grows_and_outlives_a_seek() {
        let mut tracker = delivered(&[4, 5]);
        let now = Instant::now();
        assert_eq!((tracker.last_stored(), tracker.last_committed(), tracker.resume()), (None, None, None));
        assert!(tracker.mark(4, Status::Settled, now));
        tracker.stored(5);
        tracker.stored(3);
        tracker.committed(5);
        tracker.committed(2);
        assert_eq!(
            (tracker.last_stored(), tracker.last_committed(), tracker.resume()),
            (Some(5), Some(5), Some(5))
        );
        assert_eq!(tracker.last_delivered(), Some(5));
        assert!(tracker.mark(5, Status::Settled, now));
        tracker.stored(6);
        let mut again = tracker.restarted();
        assert_eq!(
            (again.last_stored(), again.last_committed(), again.resume()),
            (Some(6), Some(5), Some(6))
        );
        assert_eq!((again.ahead(), again.open(), again.last_delivered()), (0, 0, None));
        assert_eq!(again.to_store(), None, "the driver has it");
        again.refused();
        assert_eq!((again.last_stored(), again.to_store()), (Some(5), Some(6)));
        again.stored(6);
        again.overwritten();
        assert_eq!((again.last_stored(), again.to_store()), (None, Some(6)));
    }

    #[test]
    fn the_oldest_offset_is_the_oldest_since_the_one_before_it_ended() {
        let (first, later) = (Instant::now(), Instant::now() + std::time::Duration::from_secs(9));
        let mut tracker = PartitionTracker::new();
        assert!(tracker.delivered(1, first) && tracker.delivered(2, later));
        assert_eq!(tracker.oldest(), Some((1, Status::InFlight, first)));
        assert!(!tracker.mark(3, Status::Settled, later), "it was not delivered");
        assert!(tracker.mark(1, Status::Settled, later));
        assert_eq!(tracker.oldest(), Some((2, Status::InFlight, later)));
    }

    #[test]
    fn a_broker_that_goes_back_is_noticed() {
        let mut tracker = delivered(&[7]);
        assert!(!tracker.delivered(7, Instant::now()));
        assert!(!tracker.delivered(3, Instant::now()));
        assert!(tracker.delivered(8, Instant::now()));
    }

    #[test]
    fn offsets_that_are_never_delivered_are_skipped_only_when_all_is_settled() {
        let mut tracker = delivered(&[2]);
        tracker.skip_to(12);
        assert_eq!(tracker.to_store(), None);
        tracker.mark(2, Status::Settled, Instant::now());
        tracker.skip_to(12);
        assert_eq!(tracker.to_store(), Some(12));
        tracker.skip_to(5);
        assert_eq!(tracker.to_store(), Some(12));
    }

    #[test]
    fn an_offset_that_was_skipped_is_no_hole_in_the_commit() {
        let mut tracker = delivered(&[2]);
        tracker.mark(2, Status::Settled, Instant::now());
        tracker.skip_to(12);
        assert!(!tracker.delivered(11, Instant::now()), "the driver was past it, so the broker went back");
        assert_eq!((tracker.to_store(), tracker.ahead()), (Some(12), 0));
        assert!(tracker.delivered(12, Instant::now()));
        let mut again = tracker.restarted();
        again.skip_to(12);
        assert!(
            again.delivered(2, Instant::now()),
            "a seek back reads it again, and that position skipped nothing"
        );
    }

    proptest! {
        /// Against the plainest model: after any order of marks, the stored offset is one past the longest settled
        /// prefix.
        #[test]
        fn never_past_an_unsettled_offset(
            gaps in prop::collection::vec(1_i64..4, 1..60),
            order in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8), 0..200),
        ) {
            let now = Instant::now();
            let mut tracker = PartitionTracker::new();
            let mut offset = 0;
            let mut model = Vec::new();
            for gap in gaps {
                offset += gap;
                prop_assert!(tracker.delivered(offset, now));
                model.push((offset, Status::InFlight));
            }
            let statuses = [
                Status::Busy, Status::Retrying, Status::Burying, Status::Moving, Status::Settled, Status::Duplicate,
                Status::Buried, Status::Abandoned,
            ];
            for (which, status) in order {
                let (offset, was) = which.get_mut(&mut model);
                let status = statuses[status];
                prop_assert_eq!(tracker.mark(*offset, status, now), was.is_open());
                if was.is_open() { *was = status; }
                let prefix = model.iter().take_while(|(_, s)| s.is_settled()).last().map(|(o, _)| o + 1);
                prop_assert_eq!(tracker.to_store(), prefix);
                prop_assert_eq!(tracker.open(), model.iter().filter(|(_, s)| s.is_open()).count());
                let settled = model.iter().take_while(|(_, s)| s.is_settled()).count();
                prop_assert_eq!(tracker.ahead(), model.len() - settled);
            }
        }
    }
}
