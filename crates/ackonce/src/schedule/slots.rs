//! The slots of a job: when they begin.

use std::fmt;
#[cfg(feature = "cron")]
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "cron")]
use crate::error::Result;

#[cfg(feature = "cron")]
use super::cron::Cron;
use super::every::Every;
use super::slot::Slot;

/// When the slots of a job begin: each time of a fixed length ([`Every`]), or by a cron expression in a time zone
/// (`Schedule::cron`, with the feature `cron`).
#[derive(Debug, Clone)]
pub struct Schedule(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Every(Every),
    #[cfg(feature = "cron")]
    Cron(Arc<Cron>),
}

impl Schedule {
    /// Slots that begin at the local times of a time zone that a cron expression matches. Feature `cron`.
    ///
    /// The expression has five fields: minute (0 to 59), hour (0 to 23), day of the month (1 to 31), month (1 to 12 or
    /// `JAN` to `DEC`) and day of the week (0 to 7 or `SUN` to `SAT`, Sunday is 0 and 7). With six fields the first is a
    /// second, with seven the last is a year. A field is `*`, a value, a range `1-5`, either of those two ranges with a
    /// step (`*/10`, `8-18/2`), or a list of these (`1,15`). `L` is the last day of the month, `15W` the weekday nearest
    /// to the 15th, `5#2` the second Friday and `5L` the last. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly`
    /// are known. As in every cron, a day matches if *either* its day of the month *or* its day of the week does, where
    /// both are given; a `+` before the day of the week (`0 9 13 * +5`) asks for both.
    ///
    /// The zone is a name of the IANA database, `Europe/Berlin` or `UTC`. The system's database is used where there is
    /// one, else that of the build; keep it at one version on all hosts, or they differ after a change of law.
    ///
    /// # When clocks change
    /// - **A local hour that is skipped** (29 March 2026 in Berlin, 02:00 to 03:00): the slots in it begin together at
    ///   the first moment after it, as one slot. A daily job at 02:30 runs at 03:00 on that day.
    /// - **A local hour that is repeated** (25 October 2026 in Berlin, 02:00 to 03:00): the slots in it begin in its first
    ///   pass only. A daily job at 02:30 runs once.
    /// - **An expression whose hour has a `*`, or lists all 24,** goes by time that passes: nothing begins in an hour that
    ///   is skipped, and slots begin in both passes of one that is repeated. A job that runs each quarter of an hour does
    ///   so on these days, too.
    ///
    /// A slot's message ID is the moment in UTC, so that nothing of this can make a slot run twice.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use ackonce::schedule::Schedule;
    /// let nightly = Schedule::cron("0 2 * * *", "Europe/Berlin")?;
    /// // 1 July 2026, 12:00 in UTC; 02:00 in Berlin is midnight in UTC.
    /// let noon = UNIX_EPOCH + Duration::from_secs(1_782_907_200);
    /// assert_eq!(nightly.after(noon), Some(noon + Duration::from_secs(12 * 3600)));
    /// # Ok::<(), ackonce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the expression cannot be read, with the field, its position and the values that it takes;
    /// it matches no date that exists (30 February); there is no such zone.
    #[cfg(feature = "cron")]
    pub fn cron(expression: &str, zone: &str) -> Result<Self> {
        Cron::new(expression, zone).map(|cron| Self(Kind::Cron(Arc::new(cron))))
    }

    /// The start of the first slot that begins after that moment; `None` if there is none.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use ackonce::schedule::{Every, Schedule};
    /// let hourly = Schedule::from(Every::new(Duration::from_secs(3600))?);
    /// assert_eq!(hourly.after(UNIX_EPOCH), Some(UNIX_EPOCH + Duration::from_secs(3600)));
    /// # Ok::<(), ackonce::Error>(())
    /// ```
    #[must_use]
    pub fn after(&self, moment: SystemTime) -> Option<SystemTime> {
        match &self.0 {
            Kind::Every(every) => every.after(moment),
            #[cfg(feature = "cron")]
            Kind::Cron(cron) => cron.after(moment),
        }
    }

    /// The last `most` slots that begin after the one moment and up to the other, oldest first.
    pub(super) fn between(&self, after: SystemTime, until: SystemTime, most: u32) -> Vec<Slot> {
        let starts = match &self.0 {
            Kind::Every(every) => every.between(after, until, most),
            #[cfg(feature = "cron")]
            Kind::Cron(cron) => cron.between(after, until, most),
        };
        let slot = |start| Slot { start, length: self.length(start) };
        starts.into_iter().map(slot).collect()
    }

    fn length(&self, start: SystemTime) -> Duration {
        self.after(start).and_then(|next| next.duration_since(start).ok()).unwrap_or(Duration::MAX)
    }

    /// The time that this many slots take, one after another. The same on every host and at any time.
    pub(super) fn span(&self, slots: u32) -> Duration {
        match &self.0 {
            Kind::Every(every) => every.length.saturating_mul(slots),
            #[cfg(feature = "cron")]
            Kind::Cron(cron) => cron.span(slots),
        }
    }
}

impl From<Every> for Schedule {
    fn from(every: Every) -> Self {
        Self(Kind::Every(every))
    }
}

/// As it is logged and recorded: `every 60s`, `0 2 * * * Europe/Berlin`.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Every(every) => every.fmt(f),
            #[cfg(feature = "cron")]
            Kind::Cron(cron) => cron.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_schedule_is_named_by_its_settings() {
        let every = Every::new(Duration::from_secs(90)).unwrap();
        assert_eq!(Schedule::from(every).to_string(), "every 90s");
        let anchored = every.anchored(UNIX_EPOCH + Duration::from_millis(100_500));
        assert_eq!(Schedule::from(anchored).to_string(), "every 90s from 10.5s");
    }
}
