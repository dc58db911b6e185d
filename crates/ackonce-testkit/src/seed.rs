//! Repeatable random numbers: a seed gives the same numbers on every machine and in every version.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Random numbers from a seed: SplitMix64, written out, so that a seed in an old log still gives the same run.
///
/// ```
/// use ackonce_testkit::seed::Dice;
/// let (mut one, mut other) = (Dice::new(7), Dice::new(7));
/// assert_eq!((one.roll(), one.below(10)), (other.roll(), other.below(10)));
/// ```
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of that seed, from the first.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero if that is zero. The bias is one in 2^64 / `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// An index into something of that length.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// A time in that range, to the microsecond.
    pub fn between(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let spread = range.end().saturating_sub(*range.start()).as_micros();
        let spread = u64::try_from(spread).unwrap_or(u64::MAX).saturating_add(1);
        *range.start() + Duration::from_micros(self.below(spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut dice = Dice::new(1_234_567);
        let rolled = [dice.roll(), dice.roll(), dice.roll()];
        assert_eq!(rolled, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn times_stay_in_their_range() {
        let range = Duration::from_millis(5)..=Duration::from_millis(7);
        let mut dice = Dice::new(1);
        assert!((0..1000).all(|_| range.contains(&dice.between(&range))));
        assert_eq!(dice.between(&(range.clone().into_inner().0..=Duration::ZERO)), Duration::from_millis(5));
        assert_eq!(dice.below(0), 0);
    }
}
