//! The messages of a run: their IDs, their keys, and the trouble that they make.

/// Different keys; messages of one key take effect in order where the class and the broker promise it.
pub(crate) const KEYS: u64 = 60;

/// The number of a message; `None` for an ID that this run has not made.
pub(crate) fn number(id: &str) -> Option<u64> {
    id.strip_prefix('m')?.parse().ok()
}

/// The key of a message.
pub(crate) fn key(number: u64) -> u64 {
    number % KEYS
}

/// The trouble that a message makes. Decided by its number, so that publisher, worker and audits agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Its first attempt fails.
    FailsOnce,
    /// Its first attempt panics.
    PanicsOnce,
    /// It is refused for good, and is buried without an effect.
    Refused,
}

impl Trouble {
    pub(crate) fn of(number: u64) -> Self {
        match (number % 97, number % 211, number % 401) {
            (_, _, 11) => Self::Refused,
            (_, 7, _) => Self::PanicsOnce,
            (5, _, _) => Self::FailsOnce,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use ackonce_tests::acceptance::id_of_delivery;

    use super::*;

    #[test]
    fn each_message_is_published_and_one_delivery_in_five_repeats_one() {
        let numbers: Vec<_> = (0..10_000).map(|n| number(&id_of_delivery(n)).unwrap()).collect();
        let unique: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(unique, (0..8000).collect());
        for (n, repeat) in numbers.iter().enumerate().filter(|(n, _)| n % 5 == 4) {
            assert!(numbers[..n].contains(repeat), "delivery {n} repeats one from before");
        }
    }

    #[test]
    fn all_troubles_come_up() {
        for trouble in [Trouble::FailsOnce, Trouble::PanicsOnce, Trouble::Refused] {
            assert!((0..500).any(|n| Trouble::of(n) == trouble), "{trouble:?}");
        }
    }
}
