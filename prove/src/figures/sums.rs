//! The sums over all results, beside the goals of the proof.

use std::collections::BTreeSet;

use super::{grouped, markdown};
use crate::goals::{faults, of_class, struck, word};
use crate::results::{Line, Results};

/// A sum and its goal.
type Sum = (&'static str, u64, u64);

/// The goals of the proof, and what was reached.
pub(crate) fn goals(results: &Results) -> String {
    let row = |(name, goal, reached): Sum| vec![name.to_owned(), grouped(goal), grouped(reached)];
    markdown(&["total", "goal", "reached"], 1, sums(results).into_iter().chain(broken(results)).map(row))
}

fn sums(results: &Results) -> Vec<Sum> {
    let kills = |broker: &str| {
        let runs = results.runs().filter(|(run, _)| word(run.broker) == broker);
        runs.map(|(run, verdict)| struck(run, verdict)).sum::<usize>() as u64
    };
    let class = || results.runs().filter(|(run, _)| of_class(run));
    let kind = |name: &str| class().map(|(_, verdict)| faults(verdict, name)).sum::<usize>() as u64;
    let (mut deliveries, mut ids, mut images) =
        (class().map(|(_, verdict)| verdict.deliveries).sum::<usize>() as u64, 0, 0);
    for line in &results.lines {
        match line {
            Line::Run { .. } => {}
            Line::Delivered { delivered } => deliveries += delivered.deliveries,
            Line::Remembered { remembered } => ids = ids.max(remembered.ids),
            Line::PowerCuts { power_cuts } if power_cuts.is_control() => {}
            Line::PowerCuts { power_cuts } => images += power_cuts.images,
        }
    }
    vec![
        ("kills of workers on SQLite, Redis and PostgreSQL, without a broker", 5000, kills("feed")),
        ("kills of workers on RabbitMQ", 1000, kills("rabbitmq")),
        ("kills of workers on Kafka", 500, kills("kafka")),
        (
            "pauses of workers beyond their lease",
            500,
            class().map(|(_, verdict)| verdict.pauses).sum::<usize>() as u64,
        ),
        ("kills of stores", 200, kind("store-kill")),
        ("kills of brokers", 100, kind("broker-kill")),
        ("rebalances", 1000, class().map(|(run, _)| run.rebalances).sum::<usize>() as u64),
        ("images of a disk whose power was cut", 100, images),
        ("deliveries", 10_000_000, deliveries),
        ("IDs remembered in one store", 100_000_000, ids),
    ]
}

/// Numbers that have to be zero.
fn broken(results: &Results) -> Vec<Sum> {
    let (mut lost, mut doubled, mut unexplained, mut stuck, mut other) = (0, 0, 0, 0, 0);
    for (run, verdict) in results.runs().filter(|(run, _)| of_class(run)) {
        lost += if word(run.mode) == "at-most-once" { 0 } else { verdict.lost as u64 };
        match &*word(run.mode) {
            "inbox" | "at-most-once" => doubled += verdict.doubled as u64,
            "keyed" => doubled += verdict.doubled_by_key as u64,
            _ => unexplained += (verdict.doubled - verdict.doubled_explained) as u64,
        }
        stuck += verdict.stuck as u64;
        other += (verdict.out_of_order + verdict.past_a_hole + verdict.unasked) as u64;
    }
    for line in &results.lines {
        match line {
            Line::Delivered { delivered } => {
                lost += delivered.lost;
                doubled += delivered.doubled_by_key;
                unexplained += delivered.doubled - delivered.doubled_explained;
                stuck += delivered.stuck;
            }
            Line::Remembered { remembered } => {
                lost += remembered.taken_for_known;
                doubled += remembered.forgotten;
            }
            Line::PowerCuts { power_cuts } if !power_cuts.is_control() => doubled += power_cuts.lost,
            Line::PowerCuts { .. } | Line::Run { .. } => {}
        }
    }
    vec![
        ("lost", 0, lost),
        ("doubled in keyed (under another key), inbox and at most once, or forgotten", 0, doubled),
        ("doubled in leased without a kill or a stall that explains it", 0, unexplained),
        ("stuck", 0, stuck),
        ("out of order, committed past a hole, or not asked for", 0, other),
    ]
}

/// The versions of all results.
pub(super) fn versions(results: &Results) -> String {
    let mut versions = BTreeSet::new();
    for line in &results.lines {
        versions.extend(match line {
            Line::Run { run, .. } => &run.versions,
            Line::Remembered { remembered } => &remembered.versions,
            Line::Delivered { delivered } => &delivered.versions,
            Line::PowerCuts { power_cuts } => &power_cuts.versions,
        });
    }
    let versions: Vec<_> = versions.into_iter().map(|version| &**version).collect();
    format!("Versions: {}.", versions.join(", "))
}
