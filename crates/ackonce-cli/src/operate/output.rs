//! Standard output: tables for people, JSON for scripts.

use std::io::IsTerminal as _;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::refusal::Refusal;
use crate::streams;

/// The form of the output.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputArgs {
    /// JSON for scripts: an object, or an object on each line for a list
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints text as it is. A reader that has left does not miss it.
///
/// # Errors
/// The output cannot be written, such as to a full disk.
pub(super) fn text(text: &str) -> Result<(), Refusal> {
    streams::print(text)
}

/// Prints a line of JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Refusal> {
    text(&json_line(value)?)
}

/// A line of JSON.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, Refusal> {
    let line = serde_json::to_string(value);
    line.map(|line| line + "\n").map_err(|e| Refusal::environment(format!("the output has no JSON: {e}")))
}

/// A list of things: the head of its table with the places of the numbers, and a thing as a row and as JSON.
#[derive(Debug)]
pub(super) struct Listing<T: 'static> {
    pub(super) empty: &'static str,
    pub(super) head: &'static [&'static str],
    pub(super) numbers: &'static [usize],
    pub(super) row: fn(&T) -> Vec<String>,
    pub(super) object: fn(&T) -> serde_json::Value,
}

impl<T> Listing<T> {
    /// Prints them, and says so if there are more.
    pub(super) fn print(&self, form: OutputArgs, things: &[T], is_cut: bool) -> Result<(), Refusal> {
        if form.json {
            let lines: Result<String, Refusal> =
                things.iter().map(|thing| json_line(&(self.object)(thing))).collect();
            return text(&lines?);
        }
        if things.is_empty() {
            return text(self.empty);
        }
        text(&table(self.head, self.numbers, &things.iter().map(self.row).collect::<Vec<_>>()))?;
        if is_cut {
            streams::note("There are more: --limit 0 lists all.");
        }
        Ok(())
    }
}

/// A table with a head. Columns of numbers are named by their place.
pub(super) fn table(head: &[&str], numbers: &[usize], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Elsewhere a reader splits lines, and a wrapped cell would be two.
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    let last = head.len().saturating_sub(1);
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if place == last { 0 } else { 2 }));
        if numbers.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut shown = String::new();
    for line in table.to_string().lines() {
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    shown
}

/// A number of things: `1 record`, `2 records`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number of bytes: `12 kB`.
pub(super) fn bytes(number: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    match units.into_iter().find(|(_, unit)| number >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", number / unit, number % unit * 10 / unit),
        None => format!("{number} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_columns_aligned() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((count(1, "record"), count(1200, "record")), ("1 record".into(), "1,200 records".into()));
        assert_eq!([12, 12_345, 9_000_000_000].map(bytes), ["12 bytes", "12.3 kB", "9.0 GB"]);
        let shown =
            table(&["SCOPE", "DONE"], &[1], &[vec!["a".into(), "1".into()], vec!["bb".into(), "10".into()]]);
        assert_eq!(shown, "SCOPE  DONE\na         1\nbb       10\n");
    }
}
