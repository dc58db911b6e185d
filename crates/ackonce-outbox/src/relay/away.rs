//! Pauses for a broker or a database that is away.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause and the longest one; it doubles with each failure.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// The pause between two log lines.
const BETWEEN: Duration = Duration::from_secs(10);

/// The failures in a row of something that all rows need.
#[derive(Debug, Default)]
pub(super) struct Away {
    failures: u32,
    until: Option<Instant>,
    lines: Lines,
}

impl Away {
    /// Notes a failure, and the pause that was asked for. True if it is worth a log line. Those that began together count
    /// as one.
    pub(super) fn failed(&mut self, asked: Duration) -> bool {
        let now = Instant::now();
        if self.until.is_none_or(|until| until <= now) {
            self.until = Some(now + PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST));
            self.failures = self.failures.saturating_add(1);
        }
        self.until = self.until.max(Some(now + asked));
        self.lines.is_due()
    }

    /// It has answered.
    pub(super) fn is_back(&mut self) {
        (self.failures, self.until) = (0, None);
    }

    /// True since the first failure, until it answers.
    pub(super) fn is_away(&self) -> bool {
        self.until.is_some()
    }

    /// True in the pause.
    pub(super) fn pauses(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// The end of the pause.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|_| self.pauses())
    }
}

/// Log lines of one kind, ten seconds apart.
#[derive(Debug, Default)]
pub(super) struct Lines(Option<Instant>);

impl Lines {
    /// True if the next line may be written; it counts as written.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.0.is_none_or(|last| now.duration_since(last) >= BETWEEN);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
