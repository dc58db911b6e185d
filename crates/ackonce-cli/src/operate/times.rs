//! Moments and lengths of time in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) use ackonce::store::span;

/// A moment in UTC, to the second.
pub(super) fn at(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// A fence as a moment, to the microsecond. A fence is the store's clock at the claim.
pub(super) fn of_fence(fence: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_micros(fence)) {
        // A later one has no form in RFC 3339.
        Some(moment) if fence < 253_402_300_800_000_000 => {
            humantime::format_rfc3339_micros(moment).to_string()
        }
        _ => "(no moment)".to_owned(),
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
}
