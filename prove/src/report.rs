//! Verdicts as tables for people.

use std::collections::BTreeMap;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::audit::Verdict;
use crate::goals::word;
use crate::logs::Run;

/// The columns of the table of runs.
const COLUMNS: [&str; 13] = [
    "store",
    "broker",
    "class",
    "deliveries",
    "kills",
    "pauses",
    "faults of servers",
    "lost",
    "doubled",
    "explained",
    "stuck",
    "recovery p50, p99",
    "seed",
];

/// The points and faults of a run, and the broken parts of the promise.
pub(crate) fn details(verdict: &Verdict) -> String {
    let mut text = format!("points: {}; faults: {}\n", counts(&verdict.points), counts(&verdict.faults));
    for broken in &verdict.broken {
        text.push_str(&format!("BROKEN: {broken}\n"));
    }
    if verdict.broken.is_empty() {
        text.push_str("the promise was kept\n");
    }
    text
}

pub(crate) fn counts(counts: &BTreeMap<String, usize>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// A line for each run.
pub(crate) fn table(runs: &[(Run, Verdict)]) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(COLUMNS);
    for (run, verdict) in runs {
        let faults: usize = verdict.faults.values().sum();
        table.add_row([
            run.store.clone(),
            word(run.broker),
            run.rival.clone().unwrap_or_else(|| word(run.mode)),
            verdict.deliveries.to_string(),
            (verdict.kills + verdict.crashes).to_string(),
            verdict.pauses.to_string(),
            faults.to_string(),
            verdict.lost.to_string(),
            verdict.doubled.to_string(),
            verdict.doubled_explained.to_string(),
            verdict.stuck.to_string(),
            format!("{}, {} ms", verdict.recovery_ms.0, verdict.recovery_ms.1),
            run.seed.to_string(),
        ]);
    }
    for column in 3..13 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
