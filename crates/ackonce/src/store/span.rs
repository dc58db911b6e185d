//! Lengths of time in words.

use std::time::Duration;

/// A length of time for people, in its two largest units: `3 h 12 min`, `2.5 s`, `120 ms`.
///
/// ```
/// use std::time::Duration;
/// use ackonce::store::span;
/// assert_eq!(span(Duration::from_secs(3 * 3600 + 12 * 60 + 5)), "3 h 12 min");
/// assert_eq!(span(Duration::from_millis(2500)), "2.5 s");
/// ```
#[must_use]
pub fn span(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let two = |large: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {part}"),
    };
    match seconds {
        0 => format!("{millis} ms"),
        1..=9 if millis >= 100 => format!("{seconds}.{} s", millis / 100),
        1..=59 => format!("{seconds} s"),
        60..=3599 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..=86_399 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(
            seconds / 86_400,
            if seconds < 172_800 { "day" } else { "days" },
            seconds % 86_400 / 3600,
            "h",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_two_units_at_most() {
        for (millis, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (1_950, "1.9 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h"),
            (86_400_000, "1 day"),
            (7 * 86_400_000 + 3_600_000, "7 days 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), shown);
        }
    }
}
