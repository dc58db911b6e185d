//! The handler's work besides its effect: it takes a while, a part of it before and a part after.

use std::time::Duration;

use rand::RngExt as _;

/// The longest a part takes, in microseconds.
const PART: u64 = 4000;

/// The time of one part of one run. The same for every arm; in it a worker is most likely to be killed.
pub(crate) fn part() -> Duration {
    Duration::from_micros(rand::rng().random_range(0..=PART))
}
