//! Which offset may be committed: the contiguous settled prefix of each partition, and nothing past it.
//!
//! Pure bookkeeping, without a broker. Offsets are committed out of the order in which handlers finish, so
//! each delivered offset is kept until everything before it is settled. Every token carries the assignment it
//! was made under: a partition that was lost and regained is another one, and old tokens change nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What became, or is becoming, of one delivered offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Delivered, claimed or running.
    InFlight,
    /// Somebody else holds its message.
    Busy,
    /// Waits to be attempted again.
    Retrying,
    /// Its handler ran and the store recorded it.
    Settled,
    /// The store had it recorded already.
    Duplicate,
    /// Buried, recorded.
    Buried,
    /// Handed back unsettled: the offset stays where it is, for whoever reads it next.
    Abandoned,
}

impl Status {
    /// Whether the offset may be committed past.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Settled | Self::Duplicate | Self::Buried)
    }

    /// Whether somebody still works on it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::InFlight | Self::Busy | Self::Retrying)
    }
}

/// One delivered offset under one assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The partition.
    pub partition: PartitionId,
    /// Which assignment of it.
    pub generation: u64,
    /// The offset.
    pub offset: i64,
}

/// Topic and partition number.
pub type PartitionId = (Arc<str>, i32);

/// The books of every assigned partition.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    partitions: HashMap<PartitionId, Partition>,
    generations: u64,
}

#[derive(Debug)]
struct Partition {
    generation: u64,
    /// Delivered and not yet committed past, in order. Offsets may have gaps: compaction, transactions.
    entries: VecDeque<(i64, Status)>,
    open: usize,
    last_delivered: i64,
    /// The offset to resume at: one past the last of the settled prefix. `None` until something settled.
    resume: Option<i64>,
    committed: Option<i64>,
}

impl OffsetTracker {
    /// No partitions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an assignment of this partition, under a new generation. An earlier one is forgotten.
    pub fn assign(&mut self, partition: PartitionId) -> u64 {
        self.generations += 1;
        let fresh = Partition {
            generation: self.generations,
            entries: VecDeque::new(),
            open: 0,
            last_delivered: i64::MIN,
            resume: None,
            committed: None,
        };
        self.partitions.insert(partition, fresh);
        self.generations
    }

    /// Ends the assignment: its tokens mean nothing any more.
    pub fn revoke(&mut self, partition: &PartitionId) {
        self.partitions.remove(partition);
    }

    /// Books a delivered offset. `None` if the partition is not assigned, or the offset is not past the last:
    /// then the broker has rewound (a seek, a reset, a re-created topic) and the partition must be
    /// [assigned](Self::assign) anew.
    pub fn delivered(&mut self, partition: &PartitionId, offset: i64) -> Option<Token> {
        let books = self.partitions.get_mut(partition).filter(|p| offset > p.last_delivered)?;
        books.last_delivered = offset;
        books.entries.push_back((offset, Status::InFlight));
        books.open += 1;
        Some(Token { partition: partition.clone(), generation: books.generation, offset })
    }

    /// Books what became of a delivered offset. False if its assignment has ended, or it is closed already.
    pub fn mark(&mut self, token: &Token, status: Status) -> bool {
        let books = self.partitions.get_mut(&token.partition).filter(|p| p.generation == token.generation);
        books.is_some_and(|books| books.mark(token.offset, status))
    }

    /// What should be committed: per partition the next offset to read, where it moved since
    /// [`committed`](Self::committed). It is past the last settled offset already; do not add one.
    pub fn to_commit(&self) -> impl Iterator<Item = (&PartitionId, i64)> {
        self.partitions.iter().filter_map(|(id, books)| {
            let resume = books.resume.filter(|r| books.committed.is_none_or(|c| c < *r))?;
            Some((id, resume))
        })
    }

    /// Books a confirmed commit.
    pub fn committed(&mut self, partition: &PartitionId, next: i64) {
        if let Some(books) = self.partitions.get_mut(partition) {
            books.committed = books.committed.max(Some(next));
        }
    }

    /// How many delivered offsets somebody still works on, in all partitions.
    #[must_use]
    pub fn open(&self) -> usize {
        self.partitions.values().map(|p| p.open).sum()
    }

    /// The same for one partition.
    #[must_use]
    pub fn open_in(&self, partition: &PartitionId) -> usize {
        self.partitions.get(partition).map_or(0, |p| p.open)
    }

    /// How many offsets are booked under each status: what holds the commit back, and why.
    #[must_use]
    pub fn census(&self) -> HashMap<Status, usize> {
        let mut census = HashMap::new();
        for (_, status) in self.partitions.values().flat_map(|p| &p.entries) {
            *census.entry(*status).or_default() += 1;
        }
        census
    }
}

impl Partition {
    fn mark(&mut self, offset: i64, status: Status) -> bool {
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
            self.entries.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: i32) -> PartitionId {
        ("t".into(), n)
    }

    fn commits(tracker: &OffsetTracker) -> Vec<i64> {
        tracker.to_commit().map(|(_, next)| next).collect()
    }

    #[test]
    fn only_the_contiguous_settled_prefix_is_committed() {
        let mut tracker = OffsetTracker::new();
        tracker.assign(id(0));
        let tokens: Vec<_> = [10, 11, 15].map(|o| tracker.delivered(&id(0), o).unwrap()).into();
        assert!(tracker.mark(&tokens[2], Status::Duplicate));
        assert!(tracker.mark(&tokens[1], Status::Buried));
        assert!(commits(&tracker).is_empty());
        assert!(tracker.mark(&tokens[0], Status::Busy));
        assert_eq!((commits(&tracker), tracker.open()), (vec![], 1));
        assert!(tracker.mark(&tokens[0], Status::Settled));
        assert_eq!(commits(&tracker), [16], "the next offset to read, gaps and all");
        tracker.committed(&id(0), 16);
        assert!(commits(&tracker).is_empty());
    }

    #[test]
    fn an_abandoned_offset_is_never_committed_past() {
        let mut tracker = OffsetTracker::new();
        tracker.assign(id(0));
        let tokens: Vec<_> = [0, 1].map(|o| tracker.delivered(&id(0), o).unwrap()).into();
        tracker.mark(&tokens[0], Status::Abandoned);
        tracker.mark(&tokens[1], Status::Settled);
        assert_eq!((commits(&tracker), tracker.open()), (vec![], 0));
        assert!(!tracker.mark(&tokens[0], Status::Settled), "closed is closed");
    }

    #[test]
    fn tokens_of_an_old_assignment_change_nothing() {
        let mut tracker = OffsetTracker::new();
        tracker.assign(id(0));
        let old = tracker.delivered(&id(0), 5).unwrap();
        tracker.revoke(&id(0));
        assert!(!tracker.mark(&old, Status::Settled));
        tracker.assign(id(0));
        let new = tracker.delivered(&id(0), 5).unwrap();
        assert!(!tracker.mark(&old, Status::Settled));
        assert!(commits(&tracker).is_empty());
        assert!(tracker.mark(&new, Status::Settled));
        assert_eq!(commits(&tracker), [6]);
    }

    #[test]
    fn a_rewound_partition_asks_for_a_new_assignment() {
        let mut tracker = OffsetTracker::new();
        tracker.assign(id(0));
        assert!(tracker.delivered(&id(0), 7).is_some());
        assert!(tracker.delivered(&id(0), 7).is_none(), "delivered twice");
        assert!(tracker.delivered(&id(0), 3).is_none());
        assert!(tracker.delivered(&id(1), 3).is_none(), "not assigned");
    }

    proptest! {
        /// Against the plainest model: after any order of marks, what is committed is one past the longest
        /// prefix that is settled.
        #[test]
        fn never_past_an_unsettled_offset(
            gaps in prop::collection::vec(1_i64..4, 1..60),
            order in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6), 0..200),
        ) {
            let mut tracker = OffsetTracker::new();
            tracker.assign(id(0));
            let mut offset = 0;
            let mut model = Vec::new();
            for gap in gaps {
                offset += gap;
                model.push((tracker.delivered(&id(0), offset).unwrap(), Status::InFlight));
            }
            let statuses = [Status::Busy, Status::Retrying, Status::Settled, Status::Duplicate, Status::Buried, Status::Abandoned];
            for (which, status) in order {
                let (token, was) = which.get_mut(&mut model);
                let status = statuses[status];
                prop_assert_eq!(tracker.mark(token, status), was.is_open());
                if was.is_open() { *was = status; }
                let prefix = model.iter().take_while(|(_, s)| s.is_settled()).last().map(|(t, _)| t.offset + 1);
                prop_assert_eq!(commits(&tracker), prefix.into_iter().collect::<Vec<_>>());
                prop_assert_eq!(tracker.open(), model.iter().filter(|(_, s)| s.is_open()).count());
            }
        }
    }
}
