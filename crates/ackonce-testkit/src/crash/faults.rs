//! The faults that a fleet meets, and their rates.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::seed::Dice;

/// The faults that a fleet meets, and their rates. The default is none.
///
/// ```
/// use std::time::Duration;
/// use ackonce_testkit::crash::Faults;
/// // A worker stops itself between effect and record, for longer than its lease of a second.
/// let faults = Faults {
///     pause_points: vec!["after-effect".into()],
///     pause_for: Duration::from_millis(1500)..=Duration::from_secs(3),
///     at_most: Some(50),
///     ..Faults::default()
/// };
/// ```
#[derive(Debug, Clone)]
pub struct Faults {
    /// The time from one kill at a random moment to the next. Default: none.
    pub kill_every: Option<RangeInclusive<Duration>>,
    /// The time from one pause at a random moment to the next. Default: none.
    pub pause_every: Option<RangeInclusive<Duration>>,
    /// The length of a pause. Default: 1 to 2 seconds; make it longer than the lease.
    pub pause_for: RangeInclusive<Duration>,
    /// [Points](super::point()) at which workers kill themselves: each start arms one of them. Default: none.
    pub crash_points: Vec<String>,
    /// Points at which workers stop themselves, for [`pause_for`](Self::pause_for). Default: none.
    pub pause_points: Vec<String>,
    /// The number of the pass at which an armed point strikes, from 1. Default: 1 to 10.
    pub nth: RangeInclusive<u64>,
    /// The time between a kill and the next start. Default: up to 100 milliseconds.
    pub restart_after: RangeInclusive<Duration>,
    /// After this many faults the fleet is left to heal; workers that are armed by then still are. Default: no
    /// limit.
    pub at_most: Option<usize>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            kill_every: None,
            pause_every: None,
            pause_for: Duration::from_secs(1)..=Duration::from_secs(2),
            crash_points: Vec::new(),
            pause_points: Vec::new(),
            nth: 1..=10,
            restart_after: Duration::ZERO..=Duration::from_millis(100),
            at_most: None,
        }
    }
}

impl Faults {
    /// `name:nth` for the environment of the next start.
    pub(super) fn arm(&self, points: &[String], dice: &mut Dice) -> Option<String> {
        let point = points.get(dice.index(points.len()))?;
        let spread = self.nth.end().saturating_sub(*self.nth.start()).saturating_add(1);
        Some(format!("{point}:{}", self.nth.start() + dice.below(spread)))
    }
}
