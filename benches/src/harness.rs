//! Arms that take turns: what disturbs one disturbs all, and what is compared was measured side by side.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

/// Something that is measured: one round of it does some work and says how much.
pub(crate) struct Arm<'a> {
    name: String,
    run: Box<dyn FnMut() -> anyhow::Result<u64> + 'a>,
    rates: Vec<f64>,
}

impl<'a> Arm<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> anyhow::Result<u64> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), rates: Vec::new() }
    }
}

/// Runs each arm once per round, and prints medians, spreads and ratios to the first arm.
pub(crate) fn compare(title: &str, rounds: usize, mut arms: Vec<Arm<'_>>) -> anyhow::Result<()> {
    for _ in 0..rounds {
        for arm in &mut arms {
            let began = Instant::now();
            let done = (arm.run)()?;
            #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
            arm.rates.push(done as f64 / began.elapsed().as_secs_f64());
        }
    }
    let mut table = table(title, &["median /s", "least", "most", "ratio to the first"]);
    let first = median(&mut arms[0].rates);
    for arm in &mut arms {
        let middle = median(&mut arm.rates);
        let (least, most) = (arm.rates[0], arm.rates[arm.rates.len() - 1]);
        let cells = [middle, least, most].map(|rate| format!("{rate:.0}"));
        table.add_row([&[arm.name.clone()][..], &cells, &[format!("{:.2}", middle / first)]].concat());
    }
    println!("\n{table}");
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// That part of the times, of a hundred, is not longer.
pub(crate) fn percentile(times: &mut [Duration], part: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * part / 100).min(times.len() - 1)]
}
