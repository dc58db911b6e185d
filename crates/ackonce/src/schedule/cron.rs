//! Slots by a cron expression in a time zone. The expression is matched against local times; which moments those are is
//! decided here, between two changes of the zone's offset at a time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::{DateTime, date};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, ErrorKind, Result};

use super::expression::Expression;
use super::slots::{Kind, Schedule};

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// More than any zone's offset has ever changed by.
const TWO_DAYS: SignedDuration = SignedDuration::from_hours(48);
/// Files and folders of a system's database that stand for another zone on each host, for none, or for leap seconds.
const NO_ZONES: [&str; 7] = ["localtime", "local", "posixrules", "factory", "etc/unknown", "posix", "right"];

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
    pub fn cron(expression: &str, zone: &str) -> Result<Self> {
        let expression = Expression::parse(expression)?;
        Ok(Self(Kind::Cron(Arc::new(Cron { expression, zone: find(zone)? }))))
    }
}

fn find(zone: &str) -> Result<TimeZone> {
    let refuse = |why: String| {
        let why =
            format!("{why}: give the zone by a name of the IANA database, such as Europe/Berlin or UTC");
        Error::new(ErrorKind::Config, why)
    };
    let folder = zone.split('/').next().unwrap_or(zone);
    if NO_ZONES.iter().any(|name| zone.eq_ignore_ascii_case(name) || folder.eq_ignore_ascii_case(name)) {
        return Err(refuse(format!("the time zone {zone:?} is not the same on every host")));
    }
    let found = TimeZone::get(zone);
    let found = found.map_err(|e| refuse(format!("there is no time zone {zone:?}")).with_source(e))?;
    match found.iana_name() {
        Some(_) => Ok(found),
        None => Err(refuse(format!("the time zone {zone:?} has no name"))),
    }
}

/// A cron expression in a time zone.
#[derive(Debug)]
pub(super) struct Cron {
    expression: Expression,
    zone: TimeZone,
}

/// A time in which the zone's offset does not change.
struct Stretch {
    offset: Offset,
    /// Its first moment, and the offset before that.
    began: Option<(Timestamp, Offset)>,
    /// The first moment after it.
    ends: Option<Timestamp>,
}

impl Cron {
    /// The first moment that matches after that one.
    pub(super) fn after(&self, moment: SystemTime) -> Option<SystemTime> {
        let next = self.next(Timestamp::try_from(moment).ok()?)?;
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(next.as_second()).ok()?))
    }

    /// The last `most` moments that match after the one and up to the other, oldest first. They are searched forwards
    /// from ever further back: backwards, a changed hour could be read in another way.
    pub(super) fn between(&self, after: SystemTime, until: SystemTime, most: u32) -> Vec<SystemTime> {
        let (most, mut back) = (most as usize, HOUR);
        loop {
            let from = until.checked_sub(back).map_or(after, |from| from.max(after));
            let mut found = VecDeque::new();
            let mut at = from;
            while let Some(next) = self.after(at).filter(|next| *next <= until) {
                if found.len() == most {
                    found.pop_front();
                }
                found.push_back(next);
                at = next;
            }
            if found.len() >= most || from <= after {
                return found.into();
            }
            back = back.saturating_mul(8);
        }
    }

    /// The time that this many slots take from 1 January 2026 on; fewer, if there are no more.
    pub(super) fn span(&self, slots: u32) -> Duration {
        let start = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let (mut at, mut left) = (start, slots);
        while left > 0
            && let Some(next) = self.after(at)
        {
            (at, left) = (next, left - 1);
        }
        at.duration_since(start).unwrap_or_default()
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = Timestamp::from_second(after.as_second()).ok()?.checked_add(SECOND).ok()?;
        loop {
            let stretch = self.stretch(from)?;
            // None in this stretch and none in any later one: the expression's years are over.
            let found = self.first_in(&stretch, from)?;
            match stretch.ends {
                Some(ends) if found >= ends => {
                    // No local time in between matches, so no moment does that is a good deal earlier.
                    from = found.checked_sub(TWO_DAYS).map_or(ends, |earlier| earlier.max(ends));
                }
                _ => return Some(found),
            }
        }
    }

    fn stretch(&self, at: Timestamp) -> Option<Stretch> {
        // Transitions are on whole seconds, and those before a moment do not include one at it.
        let began = self.zone.preceding(at.checked_add(SECOND).ok()?).next();
        let began = began.and_then(|change| {
            let before = change.timestamp().checked_sub(SECOND).ok()?;
            Some((change.timestamp(), self.zone.to_offset(before)))
        });
        let ends = self.zone.following(at).next().map(|change| change.timestamp());
        Some(Stretch { offset: self.zone.to_offset(at), began, ends })
    }

    /// The first match from that moment on, as if the stretch went on for ever.
    fn first_in(&self, stretch: &Stretch, from: Timestamp) -> Option<Timestamp> {
        let mut since = stretch.offset.to_datetime(from);
        if let Some((began, before)) = stretch.began
            && !self.expression.goes_by_elapsed_time()
        {
            let (before, now) = (before.to_datetime(began), stretch.offset.to_datetime(began));
            // Local times were skipped: those among them that match begin now.
            if from == began && self.expression.first_from(before).is_some_and(|first| first < now) {
                return Some(began);
            }
            // Local times are repeated: they have had their turn.
            since = since.max(before);
        }
        stretch.offset.to_timestamp(self.expression.first_from(since)?).ok()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expression, self.zone.iana_name().unwrap_or("UTC"))
    }
}

/// No slot is older.
pub(super) fn epoch() -> DateTime {
    date(1970, 1, 1).at(0, 0, 0, 0)
}
