//! The result: a table for people, an object for programs.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::checks::{self, Check};
use super::exam::Exam;
use super::{DoctorArgs, DoctorVerdict};
use crate::refusal::Refusal;
use crate::streams;

/// The width of a table where the environment's `COLUMNS` says nothing.
const WIDTH: u16 = 160;

/// The object of `--json`.
#[derive(Serialize)]
struct Told<'e> {
    verdict: DoctorVerdict,
    checks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled_messages: Option<usize>,
    findings: Vec<Row<'e>>,
    not_checked: Vec<Left<'e>>,
}

#[derive(Serialize)]
struct Row<'e> {
    check: &'static str,
    severity: super::Severity,
    accepted: bool,
    place: &'e str,
    value: &'e str,
    consequence: &'static str,
    fix: &'static str,
}

#[derive(Serialize)]
struct Left<'e> {
    check: &'static str,
    accepted: bool,
    place: &'e str,
    why: &'e str,
}

/// Prints the result.
pub(super) fn print(exam: &Exam, verdict: DoctorVerdict, args: &DoctorArgs) -> Result<(), Refusal> {
    let is_accepted = |check: &Check| args.accept.iter().any(|name| name == check.name);
    let mut findings: Vec<_> = exam.findings.iter().collect();
    findings.sort_by_key(|f| (is_accepted(f.check), std::cmp::Reverse(f.check.severity)));
    let findings = findings.into_iter().map(|f| Row {
        check: f.check.name,
        severity: f.check.severity,
        accepted: is_accepted(f.check),
        place: &f.place,
        value: &f.value,
        consequence: f.check.consequence,
        fix: f.check.fix,
    });
    let not_checked = exam.unmade.iter().map(|u| Left {
        check: u.check.name,
        accepted: is_accepted(u.check),
        place: &u.place,
        why: &u.why,
    });
    let told = Told {
        verdict,
        checks: exam.checks(),
        sampled_messages: exam.sampled,
        findings: findings.collect(),
        not_checked: not_checked.collect(),
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&told).unwrap_or_default(),
        false => for_people(&told),
    };
    streams::print(&(text + "\n"))
}

/// Prints all checks.
pub(super) fn list(json: bool) -> Result<(), Refusal> {
    let text = match json {
        true => {
            let rows = checks::all().map(|check| {
                serde_json::json!({"check": check.name, "severity": check.severity, "sound": check.sound,
                    "consequence": check.consequence, "fix": check.fix})
            });
            serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap_or_default()
        }
        false => {
            let rows = checks::all()
                .map(|c| [c.name, c.severity.word(), c.sound, c.consequence, c.fix].map(str::to_owned));
            table(["check", "severity", "sound", "otherwise", "fix"], rows)
        }
    };
    streams::print(&(text + "\n"))
}

fn for_people(told: &Told<'_>) -> String {
    let mut parts = Vec::new();
    if !told.findings.is_empty() {
        let rows = told.findings.iter().map(|row| {
            let severity = if row.accepted { "accepted" } else { row.severity.word() };
            let finding = format!("{}: {}", row.check, row.value);
            [
                severity.to_owned(),
                row.place.to_owned(),
                finding,
                row.consequence.to_owned(),
                row.fix.to_owned(),
            ]
        });
        parts.push(table(["severity", "where", "finding", "consequence", "fix"], rows));
    }
    if !told.not_checked.is_empty() {
        // One reason often stands against many checks.
        let mut rows: Vec<[String; 3]> = Vec::new();
        for left in &told.not_checked {
            let accepted = if left.accepted { " (accepted)" } else { "" };
            let name = format!("{}{accepted}", left.check);
            match rows.iter_mut().find(|[place, why, _]| place == left.place && why == left.why) {
                Some([_, _, names]) => names.push_str(&format!(", {name}")),
                None => rows.push([left.place.to_owned(), left.why.to_owned(), name]),
            }
        }
        parts.push(table(["where", "not checked, because", "checks"], rows.into_iter()));
    }
    let sampled = match told.sampled_messages {
        None => String::new(),
        Some(0) => "; there was no message to sample".to_owned(),
        Some(count) => format!(" and {}", many(count, "message")),
    };
    let (found, left) = (told.findings.len(), told.not_checked.len());
    let mut line = format!("{}: {}{sampled}", told.verdict.word(), many(told.checks, "check"));
    if found > 0 {
        line.push_str(&format!(", {}", many(found, "finding")));
    }
    if left > 0 {
        line.push_str(&format!(", {} not made", many(left, "check")));
    }
    parts.push(line);
    parts.join("\n\n")
}

fn many(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(WIDTH);
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width).set_header(head).add_rows(rows);
    table.to_string()
}
