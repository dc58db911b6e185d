//! Arms that take turns: a disturbance meets all of them, and compared figures were measured side by side.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde_json::{Value, json};

/// The part of a name that selects arms, for a look with a profiler; all arms without it.
pub(crate) static ONLY: OnceLock<String> = OnceLock::new();

/// Something that is measured: one round of it does some work and says how much.
pub(crate) struct Arm<'a> {
    name: String,
    run: Box<dyn FnMut() -> anyhow::Result<Round> + 'a>,
    rates: Vec<f64>,
    reference: Option<&'static str>,
}

impl<'a> Arm<'a> {
    /// The time of a round is all of it.
    pub(crate) fn new(name: impl Into<String>, mut run: impl FnMut() -> anyhow::Result<u64> + 'a) -> Self {
        Self::timed(name, move || {
            let began = Instant::now();
            Ok(Round { done: run()?, time: began.elapsed() })
        })
    }

    /// A round reports its own time: the time in which a consumer joins its group is not part of it.
    pub(crate) fn timed(name: impl Into<String>, run: impl FnMut() -> anyhow::Result<Round> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), rates: Vec::new(), reference: None }
    }

    /// The same, with a column of ratios to it under this heading. Without such an arm, the first is one.
    pub(crate) fn reference(self, heading: &'static str) -> Self {
        Self { reference: Some(heading), ..self }
    }
}

/// The result of one turn of an arm.
pub(crate) struct Round {
    done: u64,
    time: Duration,
}

impl Round {
    /// So many, from `began` until now.
    pub(crate) fn of(done: usize, began: Option<Instant>) -> Self {
        Self { done: done as u64, time: began.map_or(Duration::MAX, |began| began.elapsed()) }
    }

    /// So many in this time.
    pub(crate) fn taking(done: usize, time: Duration) -> Self {
        Self { done: done as u64, time }
    }
}

/// Runs each arm once per round, and prints medians, spreads and ratios to the arms that are references.
pub(crate) fn compare(title: &str, rounds: usize, mut arms: Vec<Arm<'_>>) -> anyhow::Result<()> {
    if let Some(only) = ONLY.get() {
        arms.retain(|arm| arm.name.contains(only));
        if arms.is_empty() {
            return Ok(());
        }
    }
    for round in 1..=rounds {
        for arm in &mut arms {
            eprintln!("{title}: round {round} of {rounds}, {}", arm.name);
            let Round { done, time } = (arm.run)()?;
            #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
            arm.rates.push(done as f64 / time.as_secs_f64());
        }
    }
    if arms.iter().all(|arm| arm.reference.is_none())
        && let Some(first) = arms.first_mut()
    {
        first.reference = Some("the first");
    }
    arms.iter_mut().for_each(|arm| arm.rates.sort_by(f64::total_cmp));
    let references =
        arms.iter().filter_map(|arm| Some((format!("ratio to {}", arm.reference?), median(&arm.rates))));
    let references: Vec<_> = references.collect();
    let columns =
        ["median /s", "least", "most"].into_iter().chain(references.iter().map(|(name, _)| &name[..]));
    let mut shown = table(title, &columns.collect::<Vec<_>>());
    for Arm { name, rates, .. } in &arms {
        let (median, least, most) = (median(rates), rates[0], rates[rates.len() - 1]);
        let mut figures = json!({"median": median, "least": least, "most": most});
        let mut row = vec![name.clone()];
        row.extend([median, least, most].map(|rate| format!("{rate:.0}")));
        for (heading, reference) in &references {
            figures[heading] = json!(median / reference);
            row.push(format!("{:.2}", median / reference));
        }
        figure(title, name, figures)?;
        shown.add_row(row);
    }
    println!("\n{shown}");
    Ok(())
}

pub(crate) fn table(title: &str, columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header([&[title], columns].concat());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Of values in order.
fn median(values: &[f64]) -> f64 {
    values[values.len() / 2]
}

/// That part of the times, of a thousand, is not longer.
pub(crate) fn permille(times: &mut [Duration], part: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * part / 1000).min(times.len() - 1)]
}

/// That part of the times, of a hundred, is not longer.
pub(crate) fn percentile(times: &mut [Duration], part: usize) -> Duration {
    permille(times, part * 10)
}

/// The figures as JSON lines, to draw from. As global as the standard output that the tables go to.
struct Lines {
    file: Option<File>,
    settings: Value,
}

static LINES: Mutex<Lines> = Mutex::new(Lines { file: None, settings: Value::Null });

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on, each figure goes to the end of this file as well.
pub(crate) fn append_to(path: &Path) -> anyhow::Result<()> {
    let file = File::options().create(true).append(true).open(path);
    lines().file = Some(file.with_context(|| format!("opening {}", path.display()))?);
    Ok(())
}

/// Prints the settings of the figures below, an object that is kept with each of them.
pub(crate) fn settings(settings: Value) {
    if let Value::Object(each) = &settings {
        let show = |(name, value): (&String, &Value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        };
        println!("{}", each.iter().map(show).collect::<Vec<_>>().join(", "));
    }
    lines().settings = settings;
}

/// The result of an arm of a table, an object: `{"title": …, "arm": …, "figures": {…}, "settings": {…}}`.
pub(crate) fn figure(title: &str, arm: &str, figures: Value) -> anyhow::Result<()> {
    let mut lines = lines();
    let line = json!({"title": title, "arm": arm, "figures": figures, "settings": lines.settings});
    if let Some(file) = &mut lines.file {
        writeln!(file, "{line}")?;
    }
    Ok(())
}
