//! Slots of a fixed length. Pure: no clock is read here.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, Result};

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Slots of a fixed length, one after another, aligned to the Unix epoch or to an anchor.
///
/// The length is one of UTC: a slot of a day begins at the same time of day in UTC, all year. For a local time of day,
/// for days of a week or for months there is `Schedule::cron` (feature `cron`).
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use ackonce::schedule::Every;
///
/// let hour = Duration::from_secs(3600);
/// let quarter_past = Every::new(hour)?.anchored(UNIX_EPOCH + Duration::from_secs(15 * 60));
/// assert_eq!(quarter_past.after(UNIX_EPOCH + hour), Some(UNIX_EPOCH + hour + Duration::from_secs(15 * 60)));
/// # Ok::<(), ackonce::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    pub(super) length: Duration,
    anchor: SystemTime,
}

impl Every {
    /// Slots of that length in whole milliseconds, aligned to the Unix epoch: an hour's begin with the hour in UTC.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: it is shorter than 10 ms, longer than ten years of 365 days or not in whole milliseconds.
    pub fn new(length: Duration) -> Result<Self> {
        let why = match () {
            () if length < SHORTEST => "is under the least of 10 ms",
            () if length > LONGEST => "is over the most of 3650 days",
            () if !length.subsec_nanos().is_multiple_of(1_000_000) => "is not in whole milliseconds",
            () => return Ok(Self { length, anchor: UNIX_EPOCH }),
        };
        Err(Error::new(ErrorKind::Config, format!("Every::new: a slot's length of {length:?} {why}")))
    }

    /// The same, one of them beginning at that moment, cut to milliseconds. Another anchor makes another schedule.
    #[must_use]
    pub fn anchored(self, anchor: SystemTime) -> Self {
        let length = millis(self.length);
        let offset = match anchor.duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since) % length,
            Err(before) => (length - millis(before.duration()) % length) % length,
        };
        Self { anchor: UNIX_EPOCH + Duration::from_millis(offset), ..self }
    }

    /// The start of the slot that holds that moment; `None` before the first slot that begins in 1970 or later.
    #[must_use]
    pub fn at(&self, moment: SystemTime) -> Option<SystemTime> {
        let since = millis(moment.duration_since(self.anchor).ok()?);
        self.anchor.checked_add(Duration::from_millis(since - since % millis(self.length)))
    }

    /// The start of the first slot that begins after that moment.
    #[must_use]
    pub fn after(&self, moment: SystemTime) -> Option<SystemTime> {
        match self.at(moment) {
            Some(start) => start.checked_add(self.length),
            None => Some(self.anchor),
        }
    }

    /// The last `most` starts after the one moment and up to the other, oldest first.
    pub(super) fn between(&self, after: SystemTime, until: SystemTime, most: u32) -> Vec<SystemTime> {
        let Some(last) = self.at(until) else { return Vec::new() };
        let back = |n: u32| last.checked_sub(self.length.checked_mul(n)?);
        let mut starts: Vec<_> =
            (0..most).map_while(back).take_while(|start| *start > after && *start >= self.anchor).collect();
        starts.reverse();
        starts
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every {:?}", self.length)?;
        match self.anchor.duration_since(UNIX_EPOCH) {
            Ok(offset) if !offset.is_zero() => write!(f, " from {offset:?}"),
            _ => Ok(()),
        }
    }
}

pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn slots_begin_at_the_epoch_or_at_the_anchor() {
        let hourly = Every::new(Duration::from_secs(3600)).unwrap();
        assert_eq!(hourly.at(at(3_600_000 * 5 + 1)), Some(at(3_600_000 * 5)));
        assert_eq!(hourly.at(at(3_600_000 * 5)), Some(at(3_600_000 * 5)), "its first moment is its own");
        let at_seven = hourly.anchored(at(7 * 60_000));
        assert_eq!(at_seven.at(at(3_600_000)), Some(at(7 * 60_000)));
        assert_eq!(at_seven.at(at(1)), None, "before the first");
        assert_eq!(at_seven.after(at(1)), Some(at(7 * 60_000)), "the first is after what comes before it");
        assert_eq!(
            hourly.anchored(UNIX_EPOCH - Duration::from_secs(60)).at(at(3_599_999)),
            Some(at(3_540_000))
        );
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(hourly.between(before, at(7_200_001), 9), [at(0), at(3_600_000), at(7_200_000)]);
        assert_eq!(hourly.between(at(0), at(7_200_001), 9), [at(3_600_000), at(7_200_000)]);
        assert_eq!(hourly.between(before, at(7_200_001), 2), [at(3_600_000), at(7_200_000)]);
        assert_eq!(hourly.between(at(7_200_000), at(7_200_001), 9), []);
    }

    #[test]
    fn lengths_that_cannot_work_are_refused_with_the_limit() {
        let refused = [
            (Duration::ZERO, "10 ms"),
            (Duration::from_millis(9), "10 ms"),
            (Duration::from_micros(10_500), "whole milliseconds"),
            (Duration::MAX, "3650 days"),
        ];
        for (length, limit) in refused {
            let error = Every::new(length).unwrap_err();
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(limit), "{error}");
        }
        Every::new(SHORTEST).unwrap();
        Every::new(LONGEST).unwrap();
    }

    proptest! {
        #[test]
        fn each_moment_is_in_one_slot(length in 10_u64..100_000, anchor in 0_u64..1 << 40, moment in 1_u64 << 41..1 << 42) {
            let every = Every::new(Duration::from_millis(length)).unwrap().anchored(at(anchor));
            let start = every.at(at(moment)).unwrap();
            prop_assert!(start <= at(moment) && at(moment) < start + every.length);
            prop_assert_eq!(every.at(start), Some(start));
            prop_assert_eq!(every.after(start), Some(start + every.length));
            prop_assert_eq!((millis(start.duration_since(UNIX_EPOCH).unwrap()) + length - anchor % length) % length, 0);
        }
    }
}
