//! Cron expressions in time zones: when the clocks change, when years end, and which expressions are refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::{Duration, SystemTime};

use ackonce::ErrorKind;
use ackonce::schedule::Schedule;
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

fn moment(utc: &str) -> SystemTime {
    utc.parse::<Timestamp>().unwrap().into()
}

fn cron(expression: &str, zone: &str) -> Schedule {
    Schedule::cron(expression, zone).unwrap()
}

/// The slots after the one moment and before the other, in local time with the offset.
fn slots(expression: &str, zone: &str, after: &str, before: &str) -> Vec<String> {
    let (schedule, tz) = (cron(expression, zone), TimeZone::get(zone).unwrap());
    let (mut at, before) = (moment(after), moment(before));
    let mut found = Vec::new();
    while let Some(next) = schedule.after(at).filter(|next| *next < before) {
        assert!(next > at, "{expression} goes forward");
        let local = Timestamp::try_from(next).unwrap().to_zoned(tz.clone());
        found.push(local.strftime("%d %H:%M%z").to_string());
        at = next;
    }
    found
}

/// 28 to 30 March 2026 in Berlin; on the 29th 02:00 to 03:00 is skipped.
fn skipped(expression: &str) -> Vec<String> {
    slots(expression, "Europe/Berlin", "2026-03-28T22:59:59Z", "2026-03-29T22:00:00Z")
}

/// 25 October 2026 in Berlin; 02:00 to 03:00 is repeated.
fn repeated(expression: &str) -> Vec<String> {
    slots(expression, "Europe/Berlin", "2026-10-24T21:59:59Z", "2026-10-25T23:00:00Z")
}

#[test]
fn a_slot_in_a_skipped_hour_begins_at_the_first_moment_after_it() {
    assert_eq!(skipped("30 2 * * *"), ["29 03:00+0200"]);
    assert_eq!(skipped("0 2 * * *"), ["29 03:00+0200"]);
    assert_eq!(skipped("0,30 2 * * *"), ["29 03:00+0200"], "those in it begin as one");
    assert_eq!(skipped("*/20 2 * * *"), ["29 03:00+0200"]);
    assert_eq!(skipped("0 2,3 * * *"), ["29 03:00+0200"], "two slots at one moment are one");
    assert_eq!(skipped("30 2,3 * * *"), ["29 03:00+0200", "29 03:30+0200"]);
    assert_eq!(skipped("0 1-4 * * *"), ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]);
    assert_eq!(skipped("0 2,14 * * *"), ["29 03:00+0200", "29 14:00+0200"], "a list of hours is no interval");
    assert_eq!(skipped("59 1 * * *"), ["29 01:59+0100"]);
    assert_eq!(skipped("0 3 * * *"), ["29 03:00+0200"]);
    assert_eq!(skipped("30 2 28 * *"), [""; 0], "not on another day");
    assert_eq!(skipped("15 30 2 * * *"), ["29 03:00+0200"], "nor does a second matter");
}

#[test]
fn a_slot_in_a_repeated_hour_begins_once() {
    assert_eq!(repeated("30 2 * * *"), ["25 02:30+0200"]);
    assert_eq!(repeated("0 2 * * *"), ["25 02:00+0200"]);
    assert_eq!(repeated("0,30 2 * * *"), ["25 02:00+0200", "25 02:30+0200"]);
    assert_eq!(repeated("*/30 2 * * *"), ["25 02:00+0200", "25 02:30+0200"]);
    assert_eq!(repeated("0 2,14 * * *"), ["25 02:00+0200", "25 14:00+0100"]);
    assert_eq!(repeated("30 1-3 * * *"), ["25 01:30+0200", "25 02:30+0200", "25 03:30+0100"]);
    assert_eq!(repeated("0 3 * * *"), ["25 03:00+0100"]);
    assert_eq!(repeated("* 2 * * *").len(), 60);
}

#[test]
fn any_hour_goes_by_the_time_that_passes() {
    for hours in ["*", "0-23"] {
        let hourly = format!("0 {hours} * * *");
        assert_eq!(skipped(&hourly).len(), 23);
        assert_eq!(skipped(&hourly)[1..4], ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]);
        assert_eq!(repeated(&hourly).len(), 25);
        assert_eq!(repeated(&hourly)[2..5], ["25 02:00+0200", "25 02:00+0100", "25 03:00+0100"]);
    }
    assert_eq!((skipped("*/15 * * * *").len(), repeated("*/15 * * * *").len()), (23 * 4, 25 * 4));
    assert_eq!((skipped("@hourly").len(), repeated("@hourly").len()), (23, 25));
    let halves = ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100"];
    assert_eq!(repeated("*/30 * * * *")[4..8], halves, "in order of time");
    assert_eq!(skipped("0 */2 * * *")[..2], ["29 00:00+0100", "29 04:00+0200"]);
}

/// Asked from any moment on, an expression gives the same slots: a restart finds no others.
#[test]
fn the_slots_do_not_depend_on_where_the_search_begins() {
    let zones = [
        ("Europe/Berlin", "2026-03-28T22:00:00Z"),
        ("Europe/Berlin", "2026-10-24T22:00:00Z"),
        ("America/New_York", "2026-03-08T04:00:00Z"),
        ("America/New_York", "2026-11-01T03:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T12:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T12:00:00Z"),
        ("Atlantic/Azores", "2026-03-28T22:00:00Z"),
        ("Europe/Dublin", "2026-10-24T22:00:00Z"),
        ("Africa/Cairo", "2026-04-23T20:00:00Z"),
        ("Asia/Kathmandu", "2026-05-01T00:00:00Z"),
        ("Pacific/Apia", "2011-12-30T06:00:00Z"),
    ];
    let expressions = [
        "30 2 * * *",
        "*/7 * * * *",
        "*/20 0-3 * * *",
        "0 */2 * * *",
        "15,45 1,2 * * *",
        "0 0 * * *",
        "20 10 2 * * *",
    ];
    for (zone, from) in zones {
        for expression in expressions {
            let schedule = cron(expression, zone);
            let start = moment(from);
            let mut expected = schedule.after(start).unwrap();
            for second in (0..8 * 3600).step_by(37) {
                let at = start + Duration::from_secs(second);
                while expected <= at {
                    expected = schedule.after(expected).unwrap();
                }
                assert_eq!(
                    schedule.after(at),
                    Some(expected),
                    "{expression} in {zone} after {from} + {second} s"
                );
            }
        }
    }
}

#[test]
fn months_years_and_leap_days_are_those_of_the_calendar() {
    let utc = |expression, after, before| slots(expression, "UTC", after, before);
    let after = |expression: &str, zone: &str, at: &str| {
        Timestamp::try_from(cron(expression, zone).after(moment(at)).unwrap()).unwrap().to_string()
    };
    assert_eq!(after("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z"), "2028-02-29T00:00:00Z");
    assert_eq!(after("0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z"), "2104-02-29T00:00:00Z");
    assert_eq!(after("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z"), "2026-03-31T00:00:00Z");
    assert_eq!(after("0 0 L 2 *", "UTC", "2028-02-01T00:00:00Z"), "2028-02-29T00:00:00Z");
    assert_eq!(after("59 23 31 12 *", "Europe/Berlin", "2026-12-31T22:58:59Z"), "2026-12-31T22:59:00Z");
    assert_eq!(after("@yearly", "Europe/Berlin", "2026-12-31T22:59:59Z"), "2026-12-31T23:00:00Z");
    assert_eq!(after("@yearly", "Pacific/Kiritimati", "2026-06-01T00:00:00Z"), "2026-12-31T10:00:00Z");
    assert_eq!(after("@monthly", "America/New_York", "2026-03-01T05:00:00Z"), "2026-04-01T04:00:00Z");
    assert_eq!(after("30 59 23 31 12 * 2027", "UTC", "2026-01-01T00:00:00Z"), "2027-12-31T23:59:30Z");
    assert_eq!(after("0 9 * * MON#1", "UTC", "2026-12-31T00:00:00Z"), "2027-01-04T09:00:00Z");
    assert_eq!(
        utc("0 0 13 * FRI", "2026-02-09T00:00:00Z", "2026-03-14T00:00:00Z").len(),
        5,
        "either day will do"
    );
    assert_eq!(
        utc("0 0 13 * +FRI", "2026-02-09T00:00:00Z", "2026-03-14T00:00:00Z").len(),
        2,
        "or both are asked for"
    );
    assert_eq!(
        cron("0 0 0 1 1 * 2020", "UTC").after(moment("2026-01-01T00:00:00Z")),
        None,
        "its years are over"
    );
    assert_eq!(cron("0 0 0 1 1 * 2020", "Europe/Berlin").after(moment("2026-01-01T00:00:00Z")), None);
}

#[test]
fn expressions_are_refused_with_the_field_its_place_and_its_values() {
    let refused = [
        ("0 25 * * *", "field 2 (hour, at character 3) is \"25\"", "0 to 23"),
        ("60 * * * *", "field 1 (minute, at character 1) is \"60\"", "0 to 59"),
        ("* * 32 * *", "field 3 (day of the month, at character 5) is \"32\"", "1 to 31"),
        ("* * 0 * *", "day of the month", "1 to 31"),
        ("  *  *  *  13  *", "field 4 (month, at character 12) is \"13\"", "JAN to DEC"),
        ("* * * * 8", "field 5 (day of the week, at character 9) is \"8\"", "SUN to SAT"),
        ("* * * FOO *", "\"FOO\" has no meaning there", "JAN to DEC"),
        ("* * * MON *", "\"MON\" has no meaning there", "JAN to DEC"),
        ("* JAN * * *", "\"JAN\" has no meaning there", "0 to 23"),
        ("61 * * * * *", "field 1 (second, at character 1)", "0 to 59"),
        ("0 0 0 1 1 * 20", "field 7 (year, at character 13)", "1970 to 4999"),
        ("*/0 * * * *", "field 1 (minute", "steps"),
        ("*/90 * * * *", "a step of 90", "field 1 (minute"),
        ("5/10 * * * *", "field 1 (minute", "steps"),
        ("30-10 * * * *", "field 1 (minute", "ranges"),
        ("1,,2 * * * *", "an item of the list is empty", "field 1 (minute"),
        (", * * * *", "an item of the list is empty", "field 1 (minute"),
        ("H * * * *", "\"H\" has no meaning there", "field 1"),
        ("* * * *", "it has 4 fields", "minute, hour"),
        ("", "it has 0 fields", "minute, hour"),
        ("* * * * * * * *", "it has 8 fields", "minute, hour"),
        ("TZ=Europe/Berlin 0 2 * * *", "\"TZ\" has no meaning there", "field 1"),
        ("@reboot", "no such name", "@daily"),
        ("0 0 30 2 *", "it never matches", "day of the month"),
        ("0 0 31 4,6,9,11 *", "it never matches", "day of the month"),
        ("0 0 0 29 2 * 2027", "it never matches", "year"),
        ("ä * * * *", "field 1 (minute, at character 1)", "0 to 59"),
        ("* * * * \u{1f600}", "field 5 (day of the week, at character 9)", "SUN to SAT"),
    ];
    for (expression, place, fix) in refused {
        let error = Schedule::cron(expression, "UTC").expect_err(expression);
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains(place) && text.contains(fix), "{expression}: {text}");
    }
    for fine in [
        "*/59 * * * *",
        "0 0 * * 7",
        "0 0 * * sun-sat",
        "0 0 * jan,jul *",
        "0 0 ? * MON",
        "0 0 LW * *",
        "0 8-18/2 * * 1-5",
    ] {
        Schedule::cron(fine, "UTC").expect(fine);
    }
}

#[test]
fn zones_are_those_of_the_database_alone() {
    for zone in [
        "Europe/Berln",
        "",
        "localtime",
        "CEST+",
        "../../etc/passwd",
        "Europe",
        "+02:00",
        "\0",
        "Local",
        "Etc/Unknown",
    ] {
        let error = Schedule::cron("0 2 * * *", zone).expect_err(zone);
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains("IANA"), "{zone}: {error}");
    }
    for zone in ["UTC", "Europe/Berlin", "europe/berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
        Schedule::cron("0 2 * * *", zone).expect(zone);
    }
    assert_eq!(cron("0  2 * * mon-fri", "europe/berlin").to_string(), "0 2 * * MON-FRI Europe/Berlin");
}

fn list(values: &[i8]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The documented meaning, minute for minute: a local time begins when it comes for the first time; those that are
/// skipped begin together when it is their turn to have been.
fn by_the_minute(
    zone: &TimeZone,
    from: Timestamp,
    minutes: i64,
    hours: &[i8],
    of_hour: &[i8],
    elapsed: bool,
) -> Vec<Timestamp> {
    let matches =
        |local: jiff::civil::DateTime| hours.contains(&local.hour()) && of_hour.contains(&local.minute());
    let local = |at: Timestamp| zone.to_datetime(at);
    let minute = jiff::SignedDuration::from_mins(1);
    let mut seen = std::collections::BTreeSet::new();
    let mut at = from - minute * 24 * 60;
    let mut found = Vec::new();
    while at < from + minute * i32::try_from(minutes).unwrap() {
        let (now, before) = (local(at), local(at - minute));
        let mut skipped = before + minute;
        let mut begins = matches(now) && (elapsed || !seen.contains(&now));
        while skipped < now {
            begins |= !elapsed && matches(skipped);
            skipped += minute;
        }
        seen.insert(now);
        if begins && at > from {
            found.push(at);
        }
        at += minute;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn each_expression_means_the_same_as_a_walk_minute_by_minute(
        place in 0_usize..8,
        hours in prop::collection::btree_set(0_i8..5, 1..4),
        of_hour in prop::collection::btree_set(0_i8..60, 1..4),
        elapsed in any::<bool>(),
    ) {
        let (zone, from) = [
            ("Europe/Berlin", "2026-03-28T12:00:00Z"),
            ("Europe/Berlin", "2026-10-24T12:00:00Z"),
            ("America/New_York", "2026-03-07T12:00:00Z"),
            ("America/New_York", "2026-10-31T12:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
            ("Atlantic/Azores", "2026-03-28T12:00:00Z"),
            ("Africa/Cairo", "2026-10-29T12:00:00Z"),
        ][place];
        let hours: Vec<_> = if elapsed { (0..24).collect() } else { hours.into_iter().collect() };
        let of_hour: Vec<_> = of_hour.into_iter().collect();
        let expression = match elapsed {
            true => format!("{} * * * *", list(&of_hour)),
            false => format!("{} {} * * *", list(&of_hour), list(&hours)),
        };
        let from: Timestamp = from.parse().unwrap();
        let schedule = cron(&expression, zone);
        let mut found = Vec::new();
        let mut at = SystemTime::from(from);
        let end = from + jiff::SignedDuration::from_hours(36);
        while let Some(next) = schedule.after(at).filter(|next| *next < SystemTime::from(end)) {
            found.push(Timestamp::try_from(next).unwrap());
            at = next;
        }
        let tz = TimeZone::get(zone).unwrap();
        prop_assert_eq!(found, by_the_minute(&tz, from, 36 * 60, &hours, &of_hour, elapsed), "{} {}", expression, zone);
    }
}
