//! Verdicts as tables for people.

use std::collections::BTreeMap;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::audit::Verdict;
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

/// The word for it on the command line.
pub(crate) fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

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

/// The sums over all runs of a class, without the loops by hand.
#[allow(clippy::cast_precision_loss, reason = "a number of kills")]
pub(crate) fn totals(runs: &[(Run, Verdict)]) -> String {
    let (mut totals, mut faults) = (Verdict::default(), BTreeMap::new());
    let of_class = runs.iter().filter(|(run, _)| run.class().is_some());
    for (_, verdict) in of_class {
        totals.deliveries += verdict.deliveries;
        totals.effects += verdict.effects;
        totals.kills += verdict.kills + verdict.crashes;
        totals.pauses += verdict.pauses;
        totals.stuck += verdict.stuck;
        totals.broken.extend(verdict.broken.clone());
        verdict.faults.iter().for_each(|(name, count)| *faults.entry(name.clone()).or_default() += count);
    }
    let Verdict { deliveries, effects, kills, pauses, stuck, broken, .. } = &totals;
    // The rule of three: none in n leaves at most 3 / n, with a confidence of 95 %.
    format!(
        "{deliveries} deliveries, {effects} effects, {kills} kills of workers, {pauses} pauses; {}; {} promises broken, {stuck} stuck; \
         none in {kills} kills: at most {:.4} % a kill, with 95 % confidence",
        counts(&faults),
        broken.len(),
        300.0 / (*kills).max(1) as f64,
    )
}

fn counts(counts: &BTreeMap<String, usize>) -> String {
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
