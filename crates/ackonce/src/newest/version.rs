//! The entity that a message is about, and the version of it that the message brings.

use std::cmp::Ordering;

use bytes::Bytes;

/// The longest version in the order of its bytes, in bytes.
pub const MAX_VERSION_LEN: usize = 256;

/// An entity, and a version of it.
///
/// ```
/// use ackonce::EntityVersion;
///
/// let third = EntityVersion::integer("account-7", 3);
/// let later = EntityVersion::rfc3339("account-7", "2026-11-30T09:00:00.25+01:00")?;
/// let named = EntityVersion::bytes("account-7", "01J9ZK3V9Q")?;      // a ULID sorts by its bytes
/// # Ok::<(), ackonce::VersionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityVersion {
    pub(super) entity: Bytes,
    pub(super) version: Version,
}

/// A version, and its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    Integer(i128),
    /// Seconds since the Unix epoch, and attoseconds.
    Moment(i64, u64),
    Bytes(Bytes),
}

/// Why a version was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// The text is no whole number of 128 bits.
    #[error("the version {0:?} is not a whole number")]
    NotInteger(String),
    /// The text is no moment of RFC 3339, or has more than 18 digits after the second.
    #[error("the version {0:?} is not a date and time of RFC 3339, such as 2026-11-30T08:00:00.25Z")]
    NotRfc3339(String),
    /// The bytes are more than [`MAX_VERSION_LEN`].
    #[error("the version has {0} bytes, at most {MAX_VERSION_LEN} are compared")]
    Long(usize),
}

impl EntityVersion {
    /// A version that is a whole number: a sequence number, a revision, a database's version column.
    pub fn integer(entity: impl Into<Bytes>, version: impl Into<i128>) -> Self {
        Self { entity: entity.into(), version: Version::Integer(version.into()) }
    }

    /// A version that is a moment, as RFC 3339 writes it, in any offset, to 18 digits after the second. Two changes in
    /// one moment are one version: prefer a number that the entity counts.
    ///
    /// # Errors
    /// [`VersionError::NotRfc3339`].
    pub fn rfc3339(entity: impl Into<Bytes>, version: &str) -> Result<Self, VersionError> {
        let moment = moment(version).ok_or_else(|| VersionError::NotRfc3339(version.to_owned()))?;
        Ok(Self { entity: entity.into(), version: moment })
    }

    /// A version in the order of its bytes: a ULID, a zero-padded number, a log position.
    ///
    /// # Errors
    /// [`VersionError::Long`].
    pub fn bytes(entity: impl Into<Bytes>, version: impl Into<Bytes>) -> Result<Self, VersionError> {
        let version = version.into();
        match version.len() {
            0..=MAX_VERSION_LEN => Ok(Self { entity: entity.into(), version: Version::Bytes(version) }),
            len => Err(VersionError::Long(len)),
        }
    }
}

impl Version {
    /// `None` for versions of two kinds, which have no order.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Moment(a, a_rest), Self::Moment(b, b_rest)) => (a, a_rest).cmp(&(b, b_rest)),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => return None,
        })
    }

    /// A text for log lines.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Moment(seconds, rest) => format!("{seconds}.{rest:018} s"),
            Self::Bytes(bytes) => bytes.escape_ascii().to_string(),
        }
    }
}

/// `2026-11-30T08:00:00.25Z` as a moment.
fn moment(text: &str) -> Option<Version> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    let is_real =
        (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60;
    if !is_real || second > 60 || fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let rest = fraction.parse::<u64>().ok()? * 10_u64.pow(18 - u32::try_from(fraction.len()).ok()?);
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    Some(Version::Moment(seconds - offset_of(offset)?, rest))
}

/// Seconds east of Greenwich.
fn offset_of(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes] = numbers(&text[1..], ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the Unix epoch in the Gregorian calendar; years begin in March, so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_one_in_every_offset() {
        let all =
            ["2026-11-30T08:00:00.25Z", "2026-11-30t09:00:00.250+01:00", "2026-11-29 20:30:00.25-11:30"];
        let all: Vec<_> = all.iter().map(|text| moment(text).unwrap()).collect();
        assert!(all.iter().all(|version| *version == all[0]), "{all:?}");
        assert_eq!(moment("1970-01-01T00:00:00Z").unwrap(), Version::Moment(0, 0));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "2026-11-30",
            "2026-11-30T08:00:00",
            "2026-11-30T08:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-30T24:00:00Z",
            "2026-11-30T08:00:00.Z",
            "2026-11-30T08:00:00.5",
            "2026-11-30T08:00:00+1:00",
            "2026-11-30T08:00:00.1234567890123456789Z",
            "é026-11-30T08:00:00Z",
            "+026-11-30T08:00:00Z",
            "2026-11-30T08:00:00+é",
        ] {
            assert!(moment(bad).is_none(), "{bad}");
        }
        assert_eq!(EntityVersion::bytes("e", vec![0; 257]), Err(VersionError::Long(257)));
    }

    proptest! {
        #[test]
        fn moments_are_those_of_a_library(seconds in -62_000_000_000_i64..253_000_000_000, nanos in 0..1_000_000_000_i32) {
            let stamp = jiff::Timestamp::new(seconds, 0).unwrap() + jiff::SignedDuration::new(0, nanos);
            let rest = u64::try_from(nanos).unwrap() * 1_000_000_000;
            prop_assert_eq!(moment(&stamp.to_string()).unwrap(), Version::Moment(seconds, rest));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = moment(&text);
        }
    }
}
