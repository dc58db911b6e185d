//! Log lines that may repeat.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A log line that may repeat is written once in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    lines: Mutex<Lines>,
    /// A line was written, and its end was not.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    /// The last call, whether its line was written or not.
    asked: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(10);
    /// A trouble is over when it has not been met for so long: a full store still answers some questions.
    const OVER: Duration = Duration::from_secs(1);

    /// Writes the line, which is told how many like it were left out since the last one.
    pub(crate) fn warn(&self, write: impl FnOnce(u64)) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        lines.asked = Some(now);
        if lines.last.is_some_and(|last| now.duration_since(last) < Self::PAUSE) {
            lines.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut lines.left_out);
        lines.last = Some(now);
        drop(lines);
        self.said.store(true, Ordering::Relaxed);
        write(left_out);
    }

    /// True if a trouble that was said is over: its end is worth a line, too, and only one.
    pub(crate) fn recovered(&self) -> bool {
        self.said.load(Ordering::Relaxed)
            && self.is_over(Instant::now())
            && self.said.swap(false, Ordering::Relaxed)
    }

    fn is_over(&self, now: Instant) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.asked.is_some_and(|asked| now.duration_since(asked) >= Self::OVER)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_end_of_a_trouble_is_said_once_and_only_if_the_trouble_was() {
        let throttle = Throttle::default();
        assert!(!throttle.recovered());
        throttle.warn(|_| {});
        let now = Instant::now();
        assert!(!throttle.is_over(now), "it was met a moment ago");
        assert!(throttle.is_over(now + Throttle::OVER));
        throttle.lines.lock().unwrap().asked = now.checked_sub(Throttle::OVER);
        assert!(throttle.recovered() && !throttle.recovered());
    }
}
