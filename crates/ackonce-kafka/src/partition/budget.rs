//! Limits on the records that each partition has in hand: its own, and a fair share of the consumer's.
//!
//! Pure arithmetic. Half of the consumer's limit is divided among its partitions: a guaranteed share each, of at least
//! one message. The other half is lent to the first that needs it. So a stuck partition keeps its own, and takes
//! nothing from the shares of the others.

/// The limits of one consumer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Messages and bytes of all partitions.
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Messages of one partition.
    pub(crate) partition: usize,
    /// Delivered offsets of one partition from its first unsettled one on.
    pub(crate) ahead: usize,
}

/// The records that one partition has in hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) ahead: usize,
}

/// Why a partition may take nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Its first unsettled message is too far back.
    Ahead,
    /// It has as many messages or bytes in hand as it may.
    InFlight,
}

/// The shares of one turn.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    share: usize,
    share_bytes: usize,
    /// The part that no partition uses and none is guaranteed.
    spare: isize,
    spare_bytes: isize,
}

impl Budget {
    pub(crate) fn new(limits: Limits, loads: impl ExactSizeIterator<Item = Load>) -> Self {
        let partitions = loads.len().max(1);
        let (share, share_bytes) = (share(limits.messages, partitions), share(limits.bytes, partitions));
        let (mut spare, mut spare_bytes) = (signed(limits.messages), signed(limits.bytes));
        for load in loads {
            spare -= signed(load.messages.max(share));
            spare_bytes -= signed(load.bytes.max(share_bytes));
        }
        Self { limits, share, share_bytes, spare, spare_bytes }
    }

    /// The number of messages that a partition may take now.
    pub(crate) fn room(&self, load: Load) -> Result<usize, Limit> {
        if load.ahead >= self.limits.ahead {
            return Err(Limit::Ahead);
        }
        let borrowed = usize::try_from(self.spare).unwrap_or(0);
        let own = self.share.saturating_sub(load.messages);
        let room = (own + borrowed)
            .min(self.limits.partition.saturating_sub(load.messages))
            .min(self.limits.ahead - load.ahead);
        match room > 0 && (load.bytes < self.share_bytes || self.spare_bytes > 0) {
            true => Ok(room),
            false => Err(Limit::InFlight),
        }
    }

    /// Books one message for a partition that had this load before it.
    pub(crate) fn take(&mut self, load: Load, bytes: usize) {
        if load.messages >= self.share {
            self.spare -= 1;
        }
        let beyond = (load.bytes + bytes).max(self.share_bytes) - load.bytes.max(self.share_bytes);
        self.spare_bytes -= signed(beyond);
    }
}

/// Nothing is guaranteed where there is less than one for each.
fn share(limit: usize, partitions: usize) -> usize {
    (limit / partitions / 2).max(usize::from(limit >= partitions))
}

fn signed(n: usize) -> isize {
    isize::try_from(n).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { messages: 100, bytes: 1000, partition: 80, ahead: 90 };

    fn load(messages: usize) -> Load {
        Load { messages, bytes: 0, ahead: messages }
    }

    #[test]
    fn a_stuck_partition_takes_nothing_from_the_others() {
        let loads = [load(80), load(0), load(0), load(0)];
        let budget = Budget::new(LIMITS, loads.into_iter());
        assert_eq!(budget.room(loads[0]), Err(Limit::InFlight));
        assert_eq!(budget.room(loads[1]), Ok(12), "its share is its own, whatever the others have borrowed");
    }

    #[test]
    fn unused_shares_can_be_borrowed() {
        let loads = [load(10), load(0)];
        let budget = Budget::new(Limits { partition: 500, ahead: 500, ..LIMITS }, loads.into_iter());
        assert_eq!(budget.room(loads[0]), Ok(65), "its share, and the half that is lent");
        let alone = Budget::new(Limits { partition: 500, ahead: 500, ..LIMITS }, [load(10)].into_iter());
        assert_eq!(alone.room(load(10)), Ok(90));
    }

    #[test]
    fn a_partition_that_is_too_far_ahead_waits_and_says_so() {
        let far = Load { messages: 1, bytes: 0, ahead: 90 };
        let budget = Budget::new(LIMITS, [far].into_iter());
        assert_eq!(budget.room(far), Err(Limit::Ahead));
        assert_eq!(budget.room(Load { ahead: 88, ..far }), Ok(2));
    }

    #[test]
    fn bytes_are_shared_as_messages_are() {
        let heavy = Load { messages: 1, bytes: 900, ahead: 1 };
        let light = Load::default();
        let budget = Budget::new(LIMITS, [heavy, light].into_iter());
        assert_eq!((budget.room(heavy), budget.room(light)), (Err(Limit::InFlight), Ok(75)));
    }

    proptest! {
        /// However partitions take their turns, the limit over all holds, and nobody is kept from its share.
        #[test]
        fn the_sum_stays_within_the_limit(max in 1_usize..60, partitions in 1_usize..12, order in prop::collection::vec(any::<prop::sample::Index>(), 0..300)) {
            let limits = Limits { messages: max, bytes: usize::MAX / 4, partition: 1000, ahead: 1000 };
            let mut loads = vec![Load::default(); partitions];
            for which in order {
                let at = which.index(partitions);
                let mut budget = Budget::new(limits, loads.iter().copied());
                let room = budget.room(loads[at]);
                if loads[at].messages < share(max, partitions) { prop_assert!(room.is_ok()); }
                if room.is_ok() {
                    budget.take(loads[at], 1);
                    loads[at].messages += 1;
                }
                prop_assert!(loads.iter().map(|l| l.messages).sum::<usize>() <= max);
            }
        }
    }
}
