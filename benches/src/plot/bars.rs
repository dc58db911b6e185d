//! Bars, a row each, in groups.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Figure;

const WIDTH: u32 = 860;
const ROW: u32 = 24;
/// Left of the bars, for their names; above and below them.
const NAMES: u32 = 250;
const TITLE: u32 = 44;
const AXIS: u32 = 44;
/// The value at which the bars begin: a logarithmic axis has no zero.
const LEAST: f64 = 100.0;

/// A bar, or the name of a group of them.
pub(super) enum Row {
    Group(String),
    Bar { name: &'static str, color: RGBColor, rate: f64 },
}

/// A drawn row of a table: the beginning of its arm's name, its label and its colour.
const ARMS: [(&str, &str, RGBColor); 6] = [
    ("by hand: claim, done", "by hand, one at a time", RGBColor(0xb0, 0xb4, 0xba)),
    ("by hand: bare SET NX", "by hand, bare SET NX in batches", RGBColor(0xb0, 0xb4, 0xba)),
    ("bare: ", "no store", RGBColor(0xd9, 0xdc, 0xe0)),
    ("ackonce, keyed, one at a time", "Ackonce, one at a time", RGBColor(0x6f, 0xa8, 0xf0)),
    ("ackonce, keyed, batches", "Ackonce, batches", RGBColor(0x1f, 0x5f, 0xc4)),
    ("ackonce, inbox", "Ackonce, inbox with one insert", RGBColor(0x2a, 0x8f, 0x7f)),
];

/// The tables of a broker with an empty handler on a quiet machine.
pub(super) fn rows(figures: &[Figure], broker: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for store in ["in memory", "SQLite", "Redis", "Postgres"] {
        let title = format!("{broker}, {store}");
        let bars: Vec<Row> = ARMS
            .iter()
            .filter_map(|&(begins, name, color)| {
                let of_arm =
                    |f: &&Figure| f.title == title && f.arm.starts_with(begins) && f.arm != "bare: ack each";
                let rate = figures.iter().find(of_arm)?.number("median")?;
                Some(Row::Bar { name, color, rate })
            })
            .collect();
        if !bars.is_empty() {
            rows.push(Row::Group(store.to_owned()));
            rows.extend(bars);
        }
    }
    rows
}

pub(super) fn draw(file: &Path, title: &str, rows: &[Row]) -> anyhow::Result<()> {
    let count = u32::try_from(rows.len())?;
    let root = SVGBackend::new(file, (WIDTH, TITLE + count * ROW + AXIS)).into_drawing_area();
    root.fill(&WHITE)?;
    let rates =
        rows.iter().filter_map(|row| if let Row::Bar { rate, .. } = row { Some(*rate) } else { None });
    // Room for the figure right of the longest bar.
    let most = rates.fold(10_000.0_f64, f64::max) * 4.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin_right(16)
        .x_label_area_size(AXIS)
        .y_label_area_size(NAMES)
        .build_cartesian_2d((LEAST..most).log_scale(), 0.0..f64::from(count))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_desc("messages/s, logarithmic")
        .x_label_formatter(&|rate| short(*rate))
        .label_style(("sans-serif", 13))
        .light_line_style(WHITE)
        .draw()?;
    let names = ("sans-serif", 13).into_font().color(&BLACK);
    let names = names.pos(Pos::new(HPos::Right, VPos::Center));
    let groups = ("sans-serif", 14).into_font().style(FontStyle::Bold).color(&BLACK);
    let groups = groups.pos(Pos::new(HPos::Right, VPos::Center));
    let figures = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    for (row, number) in rows.iter().zip(0_u32..) {
        let y = f64::from(count - number) - 0.5;
        let name = |text: String, style| EmptyElement::at((LEAST, y)) + Text::new(text, (-8, 0), style);
        match row {
            Row::Group(text) => chart.draw_series([name(text.clone(), groups.clone())])?,
            Row::Bar { name: text, color, rate } => {
                chart.draw_series([name((*text).to_owned(), names.clone())])?;
                let bar = [(LEAST, y - 0.38), (rate.max(LEAST), y + 0.38)];
                chart.draw_series([Rectangle::new(bar, color.filled())])?;
                let at = EmptyElement::at((rate.max(LEAST), y));
                chart.draw_series([at + Text::new(short(*rate), (6, 0), figures.clone())])?
            }
        };
    }
    root.present()?;
    Ok(())
}

/// In thousands or millions, with two or three digits.
pub(super) fn short(figure: f64) -> String {
    match figure {
        n if n >= 1e6 => format!("{:.1} M", n / 1e6).replace(".0 M", " M"),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3).replace(".0 k", " k"),
        n => format!("{n:.0}"),
    }
}
