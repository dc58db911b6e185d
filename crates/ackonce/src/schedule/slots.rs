//! Time cut into slots. Pure: no clock is read here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, ErrorKind, Result};

/// Slots of a fixed length, one after another, aligned to the Unix epoch or to an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    pub(super) length: Duration,
    anchor: SystemTime,
}

impl Every {
    /// Slots of that length in whole milliseconds, aligned to the Unix epoch: an hour's begin with the hour in UTC.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: it is shorter than 10 ms or not in whole milliseconds.
    pub fn new(length: Duration) -> Result<Self> {
        if length < Duration::from_millis(10) || !length.subsec_nanos().is_multiple_of(1_000_000) {
            let why = format!("a slot of {length:?} is not of whole milliseconds, 10 at least");
            return Err(Error::new(ErrorKind::Config, why));
        }
        Ok(Self { length, anchor: UNIX_EPOCH })
    }

    /// The same, one of them beginning at that moment, cut to milliseconds. Moving the anchor makes other slots.
    #[must_use]
    pub fn anchored(self, anchor: SystemTime) -> Self {
        let length = millis(self.length);
        let offset = match anchor.duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since) % length,
            Err(before) => (length - millis(before.duration()) % length) % length,
        };
        Self { anchor: UNIX_EPOCH + Duration::from_millis(offset), ..self }
    }

    /// The start of the slot that holds that moment; `None` for a clock that shows a time before 1970.
    #[must_use]
    pub fn at(&self, moment: SystemTime) -> Option<SystemTime> {
        let since = millis(moment.duration_since(self.anchor).ok()?);
        self.anchor.checked_add(Duration::from_millis(since - since % millis(self.length)))
    }

    /// The start of the first slot that begins after that moment.
    #[must_use]
    pub fn after(&self, moment: SystemTime) -> Option<SystemTime> {
        self.at(moment)?.checked_add(self.length)
    }

    /// The starts of up to `most` slots before this one, and this one, oldest first.
    pub(super) fn up_to(&self, start: SystemTime, most: u32) -> Vec<SystemTime> {
        let back = |n: u32| start.checked_sub(self.length.checked_mul(n)?);
        (0..=most).rev().filter_map(back).filter(|slot| *slot >= self.anchor).collect()
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// The message ID of a slot: its start, in milliseconds since the Unix epoch. Not its number: a job that is run twice
/// as often from tomorrow on still finds what it has done.
pub(super) fn id(start: SystemTime) -> String {
    millis(start.duration_since(UNIX_EPOCH).unwrap_or_default()).to_string()
}

/// One time slot of a job: what its handler is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When it begins.
    pub start: SystemTime,
    /// How long it is.
    pub length: Duration,
}

/// What to do with slots that nobody ran in time: every host was down, asleep or too late by half a slot.
/// A slot that was begun is not missed; it runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They do not run; each is buried with that reason, where an operator can redrive it.
    Skip,
    /// The latest of them runs, late, and the others are skipped. The default.
    #[default]
    Once,
    /// Each of them runs, one after another, oldest first, as far back as [`with_look_back`](super::ScheduledJob::with_look_back) says.
    All,
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
        assert_eq!(
            hourly.anchored(UNIX_EPOCH - Duration::from_secs(60)).at(at(3_599_999)),
            Some(at(3_540_000))
        );
        assert_eq!(hourly.up_to(at(7_200_000), 5), [at(0), at(3_600_000), at(7_200_000)]);
        for bad in [Duration::ZERO, Duration::from_millis(9), Duration::from_micros(10_500)] {
            assert_eq!(Every::new(bad).unwrap_err().kind(), ErrorKind::Config);
        }
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
