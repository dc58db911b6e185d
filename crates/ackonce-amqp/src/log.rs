//! Rate limits for the log: an outage is named when it begins, then ever less often, and when it is over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first silence, and the longest. Each is twice as long as the one before.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Trouble that comes back sooner than this is the same trouble.
const APART: Duration = Duration::from_secs(60);

/// One thing that can be away, and whether to say so.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    said: bool,
    ended: Option<Instant>,
    quiet_until: Option<Instant>,
    silence: Duration,
    failures: u64,
}

impl Outage {
    /// It failed. Answers the failures so far, if now is the time to say so.
    pub(crate) fn failed(&self) -> Option<u64> {
        self.failed_at(Instant::now())
    }

    /// It works. Answers how long it did not, if that was said.
    pub(crate) fn over(&self) -> Option<Duration> {
        self.over_at(Instant::now())
    }

    fn failed_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none() {
            state.since = Some(now);
            state.said = false;
            if state.ended.take().is_none_or(|ended| now - ended > APART) {
                (state.quiet_until, state.failures, state.silence) = (None, 0, FIRST);
            }
        }
        state.failures += 1;
        if state.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        state.said = true;
        state.quiet_until = Some(now + state.silence);
        state.silence = (state.silence * 2).min(LONGEST);
        Some(state.failures)
    }

    fn over_at(&self, now: Instant) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = state.since.take()?;
        state.ended = Some(now);
        state.said.then(|| now - since)
    }
}

/// Lets one log line pass in each interval, with the number of those that it stands for.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// At most one in `interval`. Answers how many were left out since the last one.
    pub(crate) fn say(&self, interval: Duration) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| last.elapsed() < interval) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_once_then_with_back_off_and_its_end_once() {
        let (outage, start) = (Outage::default(), Instant::now());
        let said = |second: u64| outage.failed_at(start + Duration::from_secs(second)).is_some();
        let times: Vec<u64> = (0..600).filter(|second| said(*second)).collect();
        assert_eq!(times, [0, 30, 90, 210, 450]);
        let end = start + Duration::from_secs(600);
        assert_eq!(outage.over_at(end), Some(Duration::from_secs(600)));
        assert_eq!(outage.over_at(end), None);
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_one_outage() {
        let (outage, start) = (Outage::default(), Instant::now());
        let mut lines = 0;
        for second in 0..120 {
            let at = start + Duration::from_secs(second);
            lines += usize::from(outage.failed_at(at).is_some());
            lines += usize::from(outage.over_at(at + Duration::from_millis(500)).is_some());
        }
        assert_eq!(lines, 6, "three times, each with its end");
        let later = start + Duration::from_secs(1000);
        assert_eq!(outage.failed_at(later), Some(1), "a new one");
    }

    #[test]
    fn a_line_stands_for_those_left_out() {
        let seldom = Seldom::default();
        assert_eq!(seldom.say(Duration::from_secs(60)), Some(0));
        assert_eq!(seldom.say(Duration::from_secs(60)), None);
        assert_eq!(seldom.say(Duration::ZERO), Some(1));
    }
}
