//! The verdict: a table for people, an object for programs, an exit code for both.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::Duration;

use ackonce::Class;
use ackonce_testkit::audit::{Audit, audit};
use ackonce_testkit::crash::History;
use ackonce_testkit::ledger::LedgerEntry;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::args::DemoClass;
use super::arm::{Arm, ArmFiles};
use super::counter::{BURIED, DELIVERED, FileCounter, HANDED_BACK, RECORDED, SUPPRESSED};
use super::plan::Plan;

/// The output of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) class: DemoClass,
    pub(crate) seed: u64,
    pub(crate) ackonce: Line,
    pub(crate) record_then_run: Line,
    pub(crate) run_then_record: Line,
}

/// One arm in numbers. The deliveries are the sum of `recorded`, `suppressed`, `buried`, `handed_back` and `cut_off`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    published: u64,
    unique: u64,
    delivered: u64,
    /// Run, and recorded as done.
    recorded: u64,
    suppressed: u64,
    buried: u64,
    /// Taken in and given up unrun, most at a rebalance: the broker delivers them again.
    handed_back: u64,
    /// In the hands of a worker when it was killed.
    cut_off: u64,
    effects: u64,
    kills: u64,
    lost: u64,
    /// Effects beyond the first of their message.
    doubled: u64,
    messages_per_second: u64,
    /// Of `doubled`, those that no recorded kill or pause explains.
    #[serde(skip)]
    unexplained: u64,
    /// Effects that the target refused, because it had seen their idempotency key.
    #[serde(skip)]
    refused: u64,
    #[serde(skip)]
    pauses: u64,
}

impl Line {
    pub(crate) fn new(
        plan: &Plan,
        files: &ArmFiles,
        mut effects: Vec<LedgerEntry>,
        class: Option<Class>,
        history: &History,
        took: Duration,
    ) -> Self {
        let all = effects.len();
        if class == Some(Class::Keyed) {
            // The ledger holds all calls; a target that honours keys takes each once.
            let mut seen = HashSet::new();
            effects.retain(|effect| seen.insert(effect.key.clone()));
        }
        let verdict = audit(&plan.published(), &effects, history);
        let [delivered, recorded, suppressed, buried, handed_back] =
            [DELIVERED, RECORDED, SUPPRESSED, BURIED, HANDED_BACK]
                .map(|name| FileCounter::read(&files.counter(name)));
        Self {
            published: verdict.published,
            unique: verdict.unique,
            delivered,
            recorded,
            suppressed,
            buried,
            handed_back,
            // Each of the others is counted when it ends; a killed worker counts no more.
            cut_off: delivered.saturating_sub(recorded + suppressed + buried + handed_back),
            effects: verdict.effects,
            kills: history.kills() as u64,
            lost: verdict.lost.len() as u64,
            doubled: doubled(&verdict, |_| true),
            messages_per_second: per_second(delivered, took),
            unexplained: doubled(&verdict, |explained| !explained),
            refused: (all - effects.len()) as u64,
            pauses: history.pauses() as u64,
        }
    }

    fn cell(&self, row: &str) -> u64 {
        match row {
            "published" => self.published,
            "unique" => self.unique,
            "delivered" => self.delivered,
            "= run and recorded" => self.recorded,
            "+ duplicates suppressed" => self.suppressed,
            "+ buried" => self.buried,
            "+ handed back unrun" => self.handed_back,
            "+ cut off by a kill" => self.cut_off,
            "effects" => self.effects,
            "kills survived" => self.kills,
            "lost" => self.lost,
            "doubled" => self.doubled,
            _ => self.messages_per_second,
        }
    }
}

const ROWS: [&str; 13] = [
    "published",
    "unique",
    "delivered",
    "= run and recorded",
    "+ duplicates suppressed",
    "+ buried",
    "+ handed back unrun",
    "+ cut off by a kill",
    "effects",
    "kills survived",
    "lost",
    "doubled",
    "messages/s",
];

fn doubled(verdict: &Audit, counts: impl Fn(bool) -> bool) -> u64 {
    verdict.doubled.iter().flat_map(|d| &d.causes).filter(|cause| counts(cause.is_some())).count() as u64
}

fn per_second(count: u64, took: Duration) -> u64 {
    let per_second = u128::from(count) * 1000 / took.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

impl Plan {
    fn published(&self) -> BTreeMap<String, u64> {
        let mut times = BTreeMap::new();
        for &index in &self.deliveries {
            *times.entry(self.messages[index].id.clone()).or_insert(0) += 1;
        }
        times
    }
}

impl Report {
    fn lines(&self) -> [(Arm, &Line); 3] {
        [
            (Arm::Ackonce, &self.ackonce),
            (Arm::RecordThenRun, &self.record_then_run),
            (Arm::RunThenRecord, &self.run_then_record),
        ]
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        let heads = self.lines().map(|(arm, _)| arm.name());
        table.set_header([""].iter().chain(&heads));
        for row in ROWS {
            let mut cells = vec![row.to_owned()];
            cells.extend(self.lines().iter().map(|(_, line)| line.cell(row).to_string()));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// The verdict in words.
    pub(crate) fn verdict(&self) -> String {
        let Line { kills, pauses, lost, doubled, unexplained, refused, .. } = self.ackonce;
        let class = self.class.class();
        let mut text = format!(
            "ackonce, class {class}, {kills} kills, {pauses} pauses: lost {lost}, doubled {doubled}."
        );
        if self.kept() {
            match class {
                Class::Leased if doubled > 0 => {
                    text += " Each of those followed on a kill or pause between the \
                     effect and its record, which is what this class states; inbox and keyed have no such gap."
                }
                Class::AtMostOnce if lost > 0 => text += " That is what this class states.",
                _ => {}
            }
        } else {
            text += &format!(
                " THAT BREAKS ITS PROMISE ({}); {unexplained} of the doubled have no kill that explains them.",
                class.promise()
            );
        }
        if refused > 0 {
            text +=
                &format!(" {refused} repeats reached the target and were refused by their idempotency key.");
        }
        let by_hand =
            |name, line: &Line| format!("\n{name}, by hand: lost {}, doubled {}.", line.lost, line.doubled);
        text += &by_hand("record-then-run", &self.record_then_run);
        text += &by_hand("run-then-record", &self.run_then_record);
        text
    }

    /// True if nothing was lost or doubled beyond the class's promise.
    pub(crate) fn kept(&self) -> bool {
        let Line { lost, doubled, unexplained, .. } = self.ackonce;
        match self.class.class() {
            Class::AtMostOnce => doubled == 0,
            Class::Leased => lost == 0 && unexplained == 0,
            Class::Keyed | Class::Inbox => lost == 0 && doubled == 0,
        }
    }
}
