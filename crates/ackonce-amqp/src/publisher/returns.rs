//! Which copies of a batch are in a queue for certain. Bookkeeping, without a broker.
//!
//! The broker returns a copy that leads nowhere before it confirms it. The client keeps returns in the order they came
//! and hands one to each confirmation that completes, whichever that is. So a confirmation without a return says that no
//! return is left over, and that one for its own copy, had there been one, has been seen by then; a confirmation that
//! carries another copy's return says nothing of its own until all are complete.

use std::collections::HashMap;

use super::refusal::AmqpRefusal;

/// The answers to one batch.
#[derive(Debug)]
pub(crate) struct Batch {
    size: usize,
    confirmed: HashMap<u64, Confirmed>,
    failed: HashMap<u64, AmqpRefusal>,
    returned: HashMap<u64, String>,
    /// A return without a number: it may be any copy's.
    unknown: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Confirmed {
    taken: bool,
    with_return: bool,
}

impl Batch {
    pub(crate) fn new(size: usize) -> Self {
        let (confirmed, failed, returned) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { size, confirmed, failed, returned, unknown: None }
    }

    /// True while an answer is missing.
    pub(crate) fn is_open(&self) -> bool {
        self.confirmed.len() + self.failed.len() < self.size
    }

    /// True once the broker has confirmed all.
    pub(crate) fn is_complete(&self) -> bool {
        self.confirmed.len() == self.size
    }

    pub(crate) fn confirmed(&mut self, number: u64, taken: bool, with_return: bool) {
        self.confirmed.insert(number, Confirmed { taken, with_return });
    }

    pub(crate) fn failed(&mut self, number: u64, refusal: AmqpRefusal) {
        self.failed.insert(number, refusal);
    }

    pub(crate) fn returned(&mut self, number: Option<u64>, why: String) {
        match number {
            Some(number) => drop(self.returned.insert(number, why)),
            None => self.unknown = Some(why),
        }
    }

    /// The fate of a copy: `Ok` only if a queue has it.
    pub(crate) fn of(&self, number: u64) -> Result<(), AmqpRefusal> {
        if let Some(why) = self.returned.get(&number).or(self.unknown.as_ref()) {
            return Err(AmqpRefusal::Nowhere(why.clone()));
        }
        match (self.confirmed.get(&number), self.failed.get(&number)) {
            (Some(Confirmed { with_return: true, .. }), _) if !self.is_complete() => {
                Err(AmqpRefusal::Away("the broker did not confirm all copies".to_owned()))
            }
            (Some(Confirmed { taken: true, .. }), _) => Ok(()),
            (Some(Confirmed { taken: false, .. }), _) => Err(AmqpRefusal::Full),
            (None, Some(refusal)) => Err(refusal.clone()),
            (None, None) => Err(AmqpRefusal::Slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_return_with_another_copy_s_confirmation_is_not_taken_for_its() {
        let mut batch = Batch::new(2);
        batch.confirmed(2, true, true);
        batch.returned(Some(1), "nowhere".to_owned());
        assert!(batch.of(2).is_err(), "its own return may still come");
        batch.confirmed(1, true, false);
        assert!(matches!(batch.of(1), Err(AmqpRefusal::Nowhere(_))));
        assert!(batch.of(2).is_ok());
    }

    #[test]
    fn a_return_without_a_number_is_anybody_s() {
        let mut batch = Batch::new(1);
        batch.confirmed(1, true, true);
        batch.returned(None, "nowhere".to_owned());
        assert!(batch.of(1).is_err());
    }

    proptest! {
        /// The client as it is: returns in one queue, each confirmation takes the oldest; the batch may end early.
        #[test]
        fn no_returned_copy_is_ever_taken_for_delivered(
            copies in prop::collection::vec((any::<bool>(), any::<u32>()), 1..12),
            early in 0_usize..12,
        ) {
            // A return comes some time before its confirmation; the order is by these numbers.
            let mut events: Vec<(u32, bool, u64)> = Vec::new();
            for (n, (unroutable, at)) in copies.iter().enumerate() {
                let number = u64::try_from(n).unwrap();
                if *unroutable {
                    events.push((at / 2, true, number));
                }
                events.push((*at, false, number));
            }
            events.sort_by_key(|(at, is_return, _)| (*at, !is_return));
            let (mut batch, mut waiting) = (Batch::new(copies.len()), std::collections::VecDeque::new());
            let mut seen = 0;
            for (_, is_return, number) in events {
                if is_return {
                    waiting.push_back(number);
                    continue;
                }
                if seen == early {
                    break;
                }
                seen += 1;
                let popped = waiting.pop_front();
                batch.confirmed(number, true, popped.is_some());
                if let Some(popped) = popped {
                    batch.returned(Some(popped), String::new());
                }
            }
            for (n, (unroutable, _)) in copies.iter().enumerate() {
                let answer = batch.of(u64::try_from(n).unwrap());
                prop_assert!(!(*unroutable && answer.is_ok()), "copy {n} was returned");
                prop_assert!(*unroutable || !batch.is_complete() || answer.is_ok(), "copy {n} is there");
            }
        }
    }
}
