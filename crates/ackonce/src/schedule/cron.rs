//! Slots by a cron expression in a time zone. The expression is matched against local times; which moments those are is
//! decided here, between two changes of the zone's offset at a time.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, ErrorKind, Result};

use super::expression::Expression;

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// More than any zone's offset has ever changed by.
const TWO_DAYS: SignedDuration = SignedDuration::from_hours(48);
/// Files and folders of a system's database that stand for another zone on each host, for none, or for leap seconds.
const NO_ZONES: [&str; 7] = ["localtime", "local", "posixrules", "factory", "etc/unknown", "posix", "right"];

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
struct OffsetSpan {
    offset: Offset,
    /// Its first moment, and the offset before that.
    began: Option<(Timestamp, Offset)>,
    /// The first moment after it.
    ends: Option<Timestamp>,
}

impl Cron {
    /// # Errors
    /// As [`Schedule::cron`](super::Schedule::cron).
    pub(super) fn new(expression: &str, zone: &str) -> Result<Self> {
        Ok(Self { expression: Expression::parse(expression)?, zone: find(zone)? })
    }

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
            let span = self.offset_span(from)?;
            // None in this span and none in any later one: the expression's years are over.
            let found = self.first_in(&span, from)?;
            match span.ends {
                Some(ends) if found >= ends => {
                    // No local time in between matches, so no moment does that is a good deal earlier.
                    from = found.checked_sub(TWO_DAYS).map_or(ends, |earlier| earlier.max(ends));
                }
                _ => return Some(found),
            }
        }
    }

    fn offset_span(&self, at: Timestamp) -> Option<OffsetSpan> {
        // Transitions are on whole seconds, and those before a moment do not include one at it.
        let began = self.zone.preceding(at.checked_add(SECOND).ok()?).next();
        let began = began.and_then(|change| {
            let before = change.timestamp().checked_sub(SECOND).ok()?;
            Some((change.timestamp(), self.zone.to_offset(before)))
        });
        let ends = self.zone.following(at).next().map(|change| change.timestamp());
        Some(OffsetSpan { offset: self.zone.to_offset(at), began, ends })
    }

    /// The first match from that moment on, as if the span went on for ever.
    fn first_in(&self, span: &OffsetSpan, from: Timestamp) -> Option<Timestamp> {
        let mut since = span.offset.to_datetime(from);
        if let Some((began, before)) = span.began
            && !self.expression.goes_by_elapsed_time()
        {
            let (before, now) = (before.to_datetime(began), span.offset.to_datetime(began));
            // Local times were skipped: those among them that match begin now.
            if from == began && self.expression.first_from(before).is_some_and(|first| first < now) {
                return Some(began);
            }
            // Local times are repeated: they have had their turn.
            since = since.max(before);
        }
        span.offset.to_timestamp(self.expression.first_from(since)?).ok()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expression, self.zone.iana_name().unwrap_or("UTC"))
    }
}
