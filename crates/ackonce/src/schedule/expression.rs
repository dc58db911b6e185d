//! Cron expressions: read by a library, and refused in our own words, with the field and the fix.

use std::fmt;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::CronParser;
use jiff::civil::{DateTime, date};

use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Expression {
    cron: Cron,
    text: String,
    /// The hour has a `*` or lists all hours.
    any_hour: bool,
}

/// A field, its least and greatest values, and the other forms that it takes.
struct Field {
    name: &'static str,
    least: u16,
    most: u16,
    /// Letters that it takes, as they stand in an expression.
    words: &'static [&'static str],
    takes: &'static str,
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"];
const NICKNAMES: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];

const FIELDS: [Field; 7] = [
    Field { name: "second", least: 0, most: 59, words: &[], takes: "0 to 59" },
    Field { name: "minute", least: 0, most: 59, words: &[], takes: "0 to 59" },
    Field { name: "hour", least: 0, most: 23, words: &[], takes: "0 to 23" },
    Field {
        name: "day of the month",
        least: 1,
        most: 31,
        words: &["L", "W", "LW"],
        takes: "1 to 31, L (the last) or 15W (the weekday nearest to the 15th)",
    },
    Field { name: "month", least: 1, most: 12, words: &MONTHS, takes: "1 to 12 or JAN to DEC" },
    Field {
        name: "day of the week",
        least: 0,
        most: 7,
        words: &DAYS,
        takes: "0 to 7 (Sunday is 0 and 7), SUN to SAT, 5#2 (the second Friday) or 5L (the last)",
    },
    Field { name: "year", least: 1970, most: 4999, words: &[], takes: "1970 to 4999" },
];

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: String| Error::new(ErrorKind::Config, format!("cron expression {text:?}: {why}"));
        let plain = expand_nickname(text).map_err(refuse)?;
        let fields: Vec<_> = fields_of(plain).collect();
        let skipped = match fields.len() {
            5 | 6 => 6 - fields.len(),
            7 => 0,
            n => return Err(refuse(wrong_number(n))),
        };
        for (number, ((at, value), field)) in fields.iter().zip(&FIELDS[skipped..]).enumerate() {
            field.check(value).map_err(|why| {
                let Field { name, takes, .. } = field;
                refuse(format!(
                    "field {} ({name}, at character {at}) is {value:?}: {why}. It takes *, {takes}, ranges (2-5), \
                     steps (*/2, 2-8/2) and lists (2,5)",
                    number + 1
                ))
            })?;
        }
        let text = fields.iter().map(|(_, value)| value.to_uppercase()).collect::<Vec<_>>().join(" ");
        let cron = CronParser::new().parse(&text).map_err(|error| refuse(error.to_string()))?;
        let any_hour = fields[2 - skipped].1.contains('*') || cron.pattern.hours.values().len() == 24;
        let expression = Self { cron, text, any_hour };
        match expression.first_from(epoch()) {
            Some(_) => Ok(expression),
            None => Err(refuse(
                "it never matches: no date has this day of the month in this month and year. Change one of these fields"
                    .to_owned(),
            )),
        }
    }

    /// The first local time that matches, from that one on; whole seconds.
    pub(super) fn first_from(&self, since: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&since, true).ok()
    }

    /// True if it means a distance in time rather than local times of day.
    pub(super) fn goes_by_elapsed_time(&self) -> bool {
        self.any_hour
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A nickname's expression, or the expression itself.
fn expand_nickname(text: &str) -> std::result::Result<&str, String> {
    let name = text.trim();
    if !name.starts_with('@') {
        return Ok(text);
    }
    Ok(match NICKNAMES.iter().position(|known| name.eq_ignore_ascii_case(known)) {
        Some(0 | 1) => "0 0 1 1 *",
        Some(2) => "0 0 1 * *",
        Some(3) => "0 0 * * 0",
        Some(4) => "0 0 * * *",
        Some(_) => "0 * * * *",
        None => return Err(format!("there is no such name; known are {}", NICKNAMES.join(", "))),
    })
}

/// The fields, each with the number of its first character, from 1.
fn fields_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |field| {
        let before = &text[..field.as_ptr() as usize - text.as_ptr() as usize];
        (before.chars().count() + 1, field)
    })
}

fn wrong_number(fields: usize) -> String {
    format!(
        "it has {fields} fields. Give five (minute, hour, day of the month, month, day of the week), six (a second before \
         them) or seven (and a year after them); the time zone is not a part of it"
    )
}

impl Field {
    fn check(&self, value: &str) -> std::result::Result<(), String> {
        let value = value.to_uppercase();
        let day_of_week = self.most == 7;
        let value = value.strip_prefix('+').filter(|_| day_of_week).unwrap_or(&value);
        let words = value.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        for word in words {
            if !self.words.contains(&word) {
                return Err(format!("{word:?} has no meaning there"));
            }
        }
        for part in value.split(',') {
            if part.is_empty() {
                return Err("an item of the list is empty".to_owned());
            }
            let step = part.split_once('/').map(|(_, step)| step.parse::<u16>());
            if let Some(Ok(step)) = step
                && step > self.most - self.least
            {
                return Err(format!("a step of {step} leaves the first value alone"));
            }
        }
        self.read(value)
    }

    /// As the library reads it, with nothing in the other fields that it could refuse.
    fn read(&self, value: &str) -> std::result::Result<(), String> {
        let alone = FIELDS.iter().map(|field| if field.name == self.name { value } else { "*" });
        let alone = alone.collect::<Vec<_>>().join(" ");
        let cron = CronParser::new().parse(&alone).map_err(|error| match error {
            CronError::ComponentError(why) => why.trim_end_matches('.').to_owned(),
            other => other.to_string(),
        })?;
        let years = self.least..=self.most;
        let is_year = self.name == "year" && !value.contains('*');
        match is_year && cron.pattern.years.values().iter().any(|year| !years.contains(year)) {
            true => Err("it is out of range".to_owned()),
            false => Ok(()),
        }
    }
}

/// No slot is older.
fn epoch() -> DateTime {
    date(1970, 1, 1).at(0, 0, 0, 0)
}
