//! Moments and lengths of time in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) use ackonce::store::span;

/// The first second that has no form in RFC 3339, that of the year 10000, since the epoch.
const END: u64 = 253_402_300_800;
/// In the place of such a moment. It comes from a letter or a record, which anybody may have written.
const NONE: &str = "(no moment)";

/// A moment in UTC, to the second.
pub(super) fn at(moment: SystemTime) -> String {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() < END => humantime::format_rfc3339_seconds(moment).to_string(),
        _ => NONE.to_owned(),
    }
}

/// A fence as a moment, to the microsecond. A fence is the store's clock at the claim.
pub(super) fn of_fence(fence: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_micros(fence)) {
        Some(moment) if Duration::from_micros(fence).as_secs() < END => {
            humantime::format_rfc3339_micros(moment).to_string()
        }
        _ => NONE.to_owned(),
    }
}

/// A length of time as an argument, longer than none: nothing would be remembered for it.
pub(super) fn lasting(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("no message is remembered for no time; write one such as 7d".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Whole milliseconds, for JSON.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_a_moment() {
        assert_eq!(of_fence(1_764_500_000_123_456), "2025-11-30T10:53:20.123456Z");
        assert_eq!(of_fence(u64::MAX), "(no moment)");
        assert_eq!(at(UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_moment_past_the_calendar_has_no_form() {
        let last = UNIX_EPOCH + Duration::from_secs(END) - Duration::from_micros(1);
        assert_eq!(at(last), "9999-12-31T23:59:59Z");
        assert_eq!(of_fence(END * 1_000_000 - 1), "9999-12-31T23:59:59.999999Z");
        assert_eq!(of_fence(END * 1_000_000), NONE);
        for forged in [UNIX_EPOCH + Duration::from_secs(END), UNIX_EPOCH + Duration::from_micros(u64::MAX)] {
            assert_eq!(at(forged), NONE);
        }
        assert_eq!(at(UNIX_EPOCH - Duration::from_secs(1)), NONE);
    }
}
