//! A row for each store, broker and class, and for each other proof.

use std::collections::BTreeMap;

use super::{grouped, markdown};
use crate::audit::Verdict;
use crate::goals::{faults, word};
use crate::logs::Run;
use crate::results::{Delivered, Line, PowerCuts, Remembered, Results};

const COLUMNS: [&str; 14] = [
    "store",
    "source",
    "class",
    "runs",
    "deliveries",
    "kills",
    "pauses",
    "store kills",
    "broker kills",
    "rebalances",
    "lost",
    "doubled, explained",
    "stuck",
    "recovery",
];

/// A row for each store, source and class; on Kafka also for each protocol of the group.
pub(super) fn rows(results: &Results) -> String {
    let mut rows: BTreeMap<_, Vec<(&Run, &Verdict)>> = BTreeMap::new();
    for (run, verdict) in results.runs() {
        let source = run
            .group
            .map_or_else(|| word(run.broker), |group| format!("{} {}", word(run.broker), word(group)));
        let is_control = run.class().is_none();
        let class = run.rival.clone().unwrap_or_else(|| word(run.mode));
        rows.entry((is_control, source, run.store.clone(), class)).or_default().push((run, verdict));
    }
    let row = |((_, source, store, class), runs): (_, Vec<(&Run, &Verdict)>)| {
        let (mut cells, mut numbers) = (vec![store, source, class], numbers(&runs));
        cells.append(&mut numbers);
        cells
    };
    markdown(&COLUMNS, 3, rows.into_iter().map(row))
}

fn numbers(runs: &[(&Run, &Verdict)]) -> Vec<String> {
    let sum = |each: fn(&Run, &Verdict) -> usize| {
        grouped(runs.iter().map(|(run, verdict)| each(run, verdict)).sum::<usize>() as u64)
    };
    let mut medians: Vec<_> = runs.iter().map(|(_, verdict)| verdict.recovery_ms.0).collect();
    medians.sort_unstable();
    let longest = runs.iter().map(|(_, verdict)| verdict.recovery_ms.1).max().unwrap_or(0);
    let explained = sum(|_, verdict| verdict.doubled_explained);
    vec![
        grouped(runs.len() as u64),
        sum(|_, verdict| verdict.deliveries),
        sum(|_, verdict| verdict.kills + verdict.crashes),
        sum(|_, verdict| verdict.pauses),
        sum(|_, verdict| faults(verdict, "store-kill")),
        sum(|_, verdict| faults(verdict, "broker-kill")),
        sum(|run, _| run.rebalances),
        sum(|_, verdict| verdict.lost),
        format!("{}, {explained}", sum(|_, verdict| verdict.doubled)),
        sum(|_, verdict| verdict.stuck),
        format!("{:.1}, {:.1} s", seconds(medians.get(medians.len() / 2)), seconds(Some(&longest))),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
fn seconds(millis: Option<&u64>) -> f64 {
    millis.map_or(0.0, |millis| *millis as f64 / 1000.0)
}

/// Runs that count for nothing, with the reason.
pub(super) fn set_aside(results: &Results) -> String {
    let row = |(run, verdict): (&Run, &Verdict)| {
        let reason = run.set_aside.clone()?;
        Some(vec![
            format!("{} {} {}, seed {}", run.store, word(run.broker), word(run.mode), run.seed),
            reason,
            format!(
                "{} deliveries, {} kills, {} lost, {} doubled, {} of them explained",
                grouped(verdict.deliveries as u64),
                verdict.kills + verdict.crashes,
                verdict.lost,
                verdict.doubled,
                verdict.doubled_explained
            ),
        ])
    };
    markdown(&["run set aside", "reason", "counts"], 3, results.all_runs().filter_map(row))
}

/// The proofs of other programs, a line each.
pub(super) fn others(results: &Results) -> String {
    let row = |line: &Line| match line {
        Line::Run { .. } => None,
        Line::Remembered { remembered } => Some(remembered_row(remembered)),
        Line::Delivered { delivered } => Some(delivered_row(delivered)),
        Line::PowerCuts { power_cuts } => Some(power_cuts_row(power_cuts)),
    };
    markdown(&["proof", "size", "outcome"], 3, results.lines.iter().filter_map(row))
}

fn remembered_row(one: &Remembered) -> Vec<String> {
    let Remembered {
        store,
        ids,
        kills,
        asked,
        forgotten,
        taken_for_known,
        bytes_per_id,
        rates,
        reopened_ms,
        ..
    } = one;
    let rates: Vec<_> = rates.iter().map(|(size, rate)| format!("{rate:.0} at {}", grouped(*size))).collect();
    vec![
        format!("IDs in one {store} file"),
        format!("{} IDs, {kills} kills, {} asked again", grouped(*ids), grouped(*asked)),
        format!(
            "{forgotten} forgotten, {taken_for_known} taken for known, {bytes_per_id:.1} bytes an ID, new messages a second: {}, \
             first batch after a kill within {} s",
            rates.join(", "),
            reopened_ms.div_ceil(1000),
        ),
    ]
}

fn delivered_row(one: &Delivered) -> Vec<String> {
    let Delivered {
        store,
        class,
        deliveries,
        messages,
        effects,
        kills,
        lost,
        doubled,
        doubled_explained,
        stuck,
        seconds,
        ..
    } = one;
    vec![
        format!("deliveries in batches, {class} on {store}"),
        format!("{} deliveries of {} messages, {kills} kills", grouped(*deliveries), grouped(*messages)),
        format!(
            "{} effects, {lost} lost, {doubled} doubled, {doubled_explained} of them explained, {} under another key, {stuck} stuck, \
             {} a second",
            grouped(*effects),
            one.doubled_by_key,
            grouped(deliveries / (*seconds).max(1)),
        ),
    ]
}

fn power_cuts_row(one: &PowerCuts) -> Vec<String> {
    let PowerCuts { setup, images, acked, lost, .. } = one;
    vec![
        format!("power cuts, SQLite {setup}"),
        format!("{images} images, {} acknowledged", grouped(*acked)),
        format!(
            "{} lost{}",
            grouped(*lost),
            if one.is_control() { ": a control, it has to lose" } else { "" }
        ),
    ]
}
