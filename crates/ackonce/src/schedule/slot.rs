//! One slot of a job: its message ID, its time in text, and the policy for slots that were missed.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::every::millis;

/// One time slot of a job, given to its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When it begins.
    pub start: SystemTime,
    /// Its length: until the next one begins, or [`Duration::MAX`] if it is the last.
    pub length: Duration,
}

impl Slot {
    /// Within half of its length a slot is on time: hosts that start together, and a scheduler's hiccup.
    pub(super) fn is_on_time(&self, now: SystemTime) -> bool {
        now.duration_since(self.start).is_ok_and(|age| age <= self.length / 2)
    }

    /// The message ID: its start, in milliseconds since the Unix epoch, in UTC. Not its number, nor a local time: hosts
    /// with other time zones agree on it, the two passes of a repeated hour differ, and a job that is run twice as often
    /// from tomorrow on still finds the slots that have run.
    pub(super) fn id(&self) -> String {
        unix_millis(self.start).to_string()
    }
}

pub(super) fn unix_millis(moment: SystemTime) -> u64 {
    millis(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The policy for slots that nobody ran in time: every host was down, asleep or too late by half a slot, or
/// the store was away.
/// A slot that was begun is not missed; it runs again.
///
/// A slot that is not run is *skipped*: it is recorded as done, with an outcome that begins with
/// `skipped`, logged in one line, and counted in `ackonce_skipped_total`, once for all hosts and restarts. [`Inspect::redrive`](crate::store::Inspect::redrive)
/// lets it run after all, when a host next looks back at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They are skipped.
    Skip,
    /// The latest of them runs, late, and the others are skipped. The default.
    #[default]
    Once,
    /// Each of them runs, one after another, oldest first, as far back as [`with_look_back`](super::ScheduledJob::with_look_back) says.
    All,
}

/// A moment in UTC, to the millisecond, as RFC 3339 has it.
pub(super) struct Utc(pub(super) SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = unix_millis(self.0);
        let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
        // From March on, a year is five months of 153 days and two more months; an era of 400 years has 146,097 days.
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = year + era * 400 + later;
        let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        let written = |millis| Utc(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(951_825_599_999), "2000-02-29T11:59:59.999Z");
        assert_eq!(written(1_774_745_999_000), "2026-03-29T00:59:59.000Z");
        assert_eq!(written(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(written(1_798_761_599_000), "2026-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_slot_is_on_time_for_half_of_its_length() {
        let slot = Slot { start: UNIX_EPOCH, length: Duration::from_secs(60) };
        assert!(slot.is_on_time(UNIX_EPOCH + Duration::from_secs(30)));
        assert!(!slot.is_on_time(UNIX_EPOCH + Duration::from_secs(31)));
        assert!(!slot.is_on_time(UNIX_EPOCH - Duration::from_secs(1)), "it has not begun");
    }
}
