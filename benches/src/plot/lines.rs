//! Lines over something that grows.

use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::Figure;
use super::bars::short;

/// One line for each name.
pub(super) struct Drawing {
    pub(super) file: &'static str,
    title: &'static str,
    across: &'static str,
    up: &'static str,
    logarithmic: bool,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

const COLORS: [RGBColor; 4] = [
    RGBColor(0x1f, 0x5f, 0xc4),
    RGBColor(0xd1, 0x49, 0x2e),
    RGBColor(0x2a, 0x8f, 0x7f),
    RGBColor(0x8e, 0x5b, 0xb5),
];

pub(super) fn drawings(figures: &[Figure]) -> Vec<Drawing> {
    let memory = Drawing {
        file: "memory.svg",
        title: "Memory of a Kafka consumer",
        across: "messages consumed",
        up: "resident, MB",
        logarithmic: false,
        lines: lines(figures, |figure| {
            let store = figure.title.strip_prefix("Memory of a consumer, ")?;
            Some((store, figure.arm.parse().ok()?, figure.number("resident MB")?))
        }),
    };
    let stores = Drawing {
        file: "stores.svg",
        title: "New messages, claimed and completed in batches of 1000, as IDs accumulate",
        across: "IDs remembered, logarithmic",
        up: "messages/s",
        logarithmic: true,
        lines: lines(figures, |figure| {
            let title = ": new messages, claimed and completed, batches of 1000";
            // In memory nothing accumulates for long, and all else would be flat beneath it.
            let store = figure.title.strip_suffix(title).filter(|store| *store != "memory")?;
            Some((store, figure.arm.strip_suffix(" remembered")?.parse().ok()?, figure.number("median")?))
        }),
    };
    [memory, stores].into_iter().filter(|drawing| !drawing.lines.is_empty()).collect()
}

/// The points of each line, in the order of the figures.
fn lines<'a>(
    figures: &'a [Figure],
    point: impl Fn(&'a Figure) -> Option<(&'a str, f64, f64)>,
) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for (name, x, y) in figures.iter().filter_map(point) {
        match lines.iter_mut().find(|(old, _)| old == name) {
            Some((_, points)) => points.push((x, y)),
            None => lines.push((name.to_owned(), vec![(x, y)])),
        }
    }
    lines
}

impl Drawing {
    pub(super) fn draw(&self, file: &Path) -> anyhow::Result<()> {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let least = points().fold(f64::MAX, |least, (x, _)| least.min(*x));
        let most = points().fold(0.0_f64, |most, (x, _)| most.max(*x));
        if self.logarithmic { self.over(file, (least..most).log_scale()) } else { self.over(file, 0.0..most) }
    }

    fn over<X>(&self, file: &Path, across: X) -> anyhow::Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        let highest =
            self.lines.iter().flat_map(|(_, points)| points).fold(0.0_f64, |most, (_, y)| most.max(*y));
        let root = SVGBackend::new(file, (860, 400)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 17))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(across, 0.0..highest * 1.15)?;
        chart
            .configure_mesh()
            .x_desc(self.across)
            .y_desc(self.up)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .label_style(("sans-serif", 13))
            .light_line_style(WHITE)
            .draw()?;
        for ((name, points), color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let style = color.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(0xd9, 0xdc, 0xe0))
            .label_font(("sans-serif", 13))
            .draw()?;
        root.present()?;
        Ok(())
    }
}
