//! The tables of docs/PROOF.md, from the results.

mod rows;
mod sums;

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::results::{PUBLISHED, Results};

pub(crate) use self::sums::goals;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROOF.md");
/// Around the text that is made.
const MARKS: [&str; 2] = ["<!-- prove figures -->\n", "<!-- end of prove figures -->\n"];

/// Writes the tables into the page.
pub(crate) fn write() -> Result<()> {
    let page = std::fs::read_to_string(PAGE)?;
    Ok(std::fs::write(PAGE, updated(&page, &Results::open(Path::new(PUBLISHED))?)?)?)
}

/// The page with the tables of these results.
fn updated(page: &str, results: &Results) -> Result<String> {
    let mut page = page.to_owned();
    let [begin, end] = MARKS;
    let (before, rest) = page.split_once(begin).with_context(|| format!("{PAGE} has no {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("{PAGE} has no {end}"))?;
    let made = [
        goals(results),
        rows::rows(results),
        rows::others(results),
        rows::set_aside(results),
        sums::versions(results),
    ];
    page = format!("{before}{begin}{}\n{end}{after}", made.join("\n\n"));
    Ok(page)
}

/// A Markdown table whose columns from `first_number` on are numbers.
fn markdown(columns: &[&str], first_number: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let columns: Vec<_> = columns.iter().map(|column| (*column).to_owned()).collect();
    let rule = (0..columns.len()).map(|n| if n < first_number { "---" } else { "--:" });
    let rule = format!("|{}|", rule.collect::<Vec<_>>().join("|"));
    let lines = [line(&columns), rule].into_iter().chain(rows.into_iter().map(|cells| line(&cells)));
    lines.collect::<Vec<_>>().join("\n")
}

/// With commas between the thousands.
fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let with_comma = |(n, digit): (usize, char)| (n > 0 && (digits.len() - n).is_multiple_of(3), digit);
    let mut text = String::new();
    for (comma, digit) in digits.chars().enumerate().map(with_comma) {
        if comma {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Otherwise: cargo run -p prove -- figures
    #[test]
    fn the_page_has_the_figures_of_the_results() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let results = Results::open(Path::new(PUBLISHED)).unwrap();
        assert!(updated(&page, &results).unwrap() == page, "run: cargo run -p prove -- figures");
    }

    #[test]
    fn thousands_are_grouped() {
        let texts = [0_u64, 999, 1000, 12_345_678].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345,678"]);
    }
}
