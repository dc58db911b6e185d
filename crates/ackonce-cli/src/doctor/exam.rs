//! An examination: the checks that were made, their findings, and the checks that could not be made.

use std::collections::BTreeSet;

use super::checks::{Check, Severity};

/// A check that is not in its sound state.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) check: &'static Check,
    /// The store, a server, a topic, a queue, a flag.
    pub(super) place: String,
    /// The present value, without secrets.
    pub(super) value: String,
}

/// A check that could not be made.
#[derive(Debug)]
pub(super) struct Unmade {
    pub(super) check: &'static Check,
    pub(super) place: String,
    pub(super) why: String,
}

#[derive(Debug, Default)]
pub(super) struct Exam {
    pub(super) findings: Vec<Finding>,
    pub(super) unmade: Vec<Unmade>,
    /// The number of sampled messages, if a sample was taken.
    pub(super) sampled: Option<usize>,
    made: BTreeSet<&'static str>,
}

impl Exam {
    /// The examination of one place.
    pub(super) fn of(&mut self, place: impl Into<String>) -> Subject<'_> {
        Subject { exam: self, place: place.into() }
    }

    /// The number of checks that were made, each once, at however many places.
    pub(super) fn checks(&self) -> usize {
        self.made.len()
    }

    /// The worst of the findings and of the checks that were not made, without the accepted ones.
    pub(super) fn worst(&self, accepted: &[String]) -> Option<Severity> {
        let counts = |check: &Check| !accepted.iter().any(|name| name == check.name);
        let findings = self.findings.iter().map(|f| f.check).filter(|c| counts(c)).map(|c| c.severity);
        // Nobody can say that it is sound.
        let unmade = self.unmade.iter().filter(|u| counts(u.check)).map(|_| Severity::Weakened);
        findings.chain(unmade).max()
    }

    /// All that another examination found.
    pub(super) fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.unmade.extend(other.unmade);
        self.made.extend(other.made);
        self.sampled = other.sampled.or(self.sampled);
    }
}

/// One place under examination.
pub(super) struct Subject<'e> {
    exam: &'e mut Exam,
    place: String,
}

impl Subject<'_> {
    /// Makes a check; `fault` is the present value if that is not sound.
    pub(super) fn look(&mut self, check: &'static Check, fault: Option<String>) {
        self.exam.made.insert(check.name);
        if let Some(value) = fault {
            self.exam.findings.push(Finding { check, place: self.place.clone(), value });
        }
    }

    /// Leaves a check out.
    pub(super) fn cannot(&mut self, check: &'static Check, why: impl Into<String>) {
        self.exam.unmade.push(Unmade { check, place: self.place.clone(), why: why.into() });
    }

    /// Leaves several checks out, for one reason.
    pub(super) fn cannot_all(&mut self, checks: &[&'static Check], why: &str) {
        checks.iter().for_each(|check| self.cannot(check, why));
    }
}

/// The value, if it is a fault.
pub(super) fn when(is_fault: bool, value: impl FnOnce() -> String) -> Option<String> {
    is_fault.then(value)
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = (bytes, "bytes");
    for unit in UNITS {
        if shown.0 < 10_240 {
            break;
        }
        shown = (shown.0 / 1024, unit);
    }
    format!("{} {}", shown.0, shown.1)
}

/// The fault of a clock: more apart than `limit`, and than its own uncertainty.
pub(super) fn skewed(ahead_us: i64, error_us: i64) -> Option<String> {
    const LIMIT_US: i64 = 5_000_000;
    let apart = ahead_us.saturating_abs().saturating_sub(error_us);
    let side = if ahead_us > 0 { "ahead of" } else { "behind" };
    when(apart > LIMIT_US, || format!("{} s {side} this host", ahead_us.saturating_abs() / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_only_beyond_the_uncertainty() {
        assert_eq!(skewed(4_000_000, 0), None);
        assert_eq!(skewed(-9_000_000, 5_000_000), None);
        assert_eq!(skewed(-9_000_000, 1_000).as_deref(), Some("9 s behind this host"));
        assert_eq!(skewed(3_600_000_000, 1_000).as_deref(), Some("3600 s ahead of this host"));
        assert!(skewed(i64::MIN, i64::MAX).is_none());
    }

    #[test]
    fn sizes_keep_four_digits() {
        assert_eq!([size(0), size(10_239), size(1 << 20)], ["0 bytes", "10239 bytes", "1024 KiB"]);
        assert_eq!([size(64 << 20), size(u64::MAX)], ["64 MiB", "16777215 TiB"]);
    }
}
