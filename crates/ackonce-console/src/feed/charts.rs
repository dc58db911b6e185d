//! Figures over time: some minutes of them, in memory.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Serialize;

use crate::snapshot::{Point, RunnerView, StateCounts};

/// The points that are kept: ten minutes at one a second.
const KEPT: usize = 600;

/// A chart.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Chart {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    /// The unit of its values.
    pub(crate) unit: &'static str,
    pub(crate) meaning: &'static str,
}

/// The charts of a program.
const OF_PROGRAM: [Chart; 4] = [
    Chart {
        key: "completed",
        title: "Completed",
        unit: "/s",
        meaning: "Deliveries that were run and recorded",
    },
    Chart {
        key: "duplicate",
        title: "Duplicates",
        unit: "/s",
        meaning: "Deliveries found done or buried before, which did not run again",
    },
    Chart {
        key: "failed",
        title: "Failures",
        unit: "/s",
        meaning: "Runs to be repeated after a back-off, and burials",
    },
    Chart {
        key: "in_flight",
        title: "In flight",
        unit: "",
        meaning: "Deliveries taken in and not over yet, waiting ones included",
    },
];

/// The charts of a store, which counts no duplicates.
const OF_STORE: [Chart; 4] = [
    Chart {
        key: "done",
        title: "Done",
        unit: "/s",
        meaning: "Growth of the records that are done; expired ones count against it",
    },
    Chart { key: "claimed", title: "Claimed", unit: "", meaning: "Records under a claim now" },
    Chart {
        key: "released",
        title: "Waiting",
        unit: "",
        meaning: "Records released after a failure or a stop, to be claimed again",
    },
    Chart { key: "buried", title: "Buried", unit: "", meaning: "Records of buried messages" },
];

/// The points of all charts.
pub(crate) struct Charts {
    charts: &'static [Chart; 4],
    points: VecDeque<Point>,
    number: u64,
    last: Option<(Instant, Figures)>,
}

/// A figure for each chart.
type Figures = [Figure; 4];

#[derive(Clone, Copy)]
enum Figure {
    /// A sum, whose growth is a rate.
    Sum(u64),
    /// Shown as it is.
    Now(u64),
}

impl Charts {
    pub(crate) fn of_program() -> Self {
        Self::new(&OF_PROGRAM)
    }

    pub(crate) fn of_store() -> Self {
        Self::new(&OF_STORE)
    }

    fn new(charts: &'static [Chart; 4]) -> Self {
        Self { charts, points: VecDeque::new(), number: 0, last: None }
    }

    pub(crate) fn charts(&self) -> &'static [Chart; 4] {
        self.charts
    }

    pub(crate) fn points(&self) -> Vec<Point> {
        self.points.iter().cloned().collect()
    }

    pub(crate) fn newest(&self) -> Option<&Point> {
        self.points.back()
    }

    pub(crate) fn add_program(&mut self, at_ms: u64, runners: &[RunnerView]) {
        let sum = |of: fn(&RunnerView) -> u64| runners.iter().map(of).sum::<u64>();
        let figures = [
            Figure::Sum(sum(|r| r.completed)),
            Figure::Sum(sum(|r| r.duplicate + r.duplicate_of_buried)),
            Figure::Sum(sum(|r| r.retried + r.buried)),
            Figure::Now(sum(|r| r.in_flight)),
        ];
        self.add(at_ms, figures);
    }

    pub(crate) fn add_store(&mut self, at_ms: u64, total: StateCounts) {
        let StateCounts { claimed, released, done, buried } = total;
        self.add(
            at_ms,
            [Figure::Sum(done), Figure::Now(claimed), Figure::Now(released), Figure::Now(buried)],
        );
    }

    fn add(&mut self, at_ms: u64, figures: Figures) {
        let now = Instant::now();
        // A rate needs two looks.
        let Some((then, before)) = self.last.replace((now, figures)) else { return };
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, reason = "a value of a chart")]
        let value = |(now, before)| match (now, before) {
            (Figure::Sum(now), Figure::Sum(before)) => u64::saturating_sub(now, before) as f64 / seconds,
            (Figure::Sum(now) | Figure::Now(now), _) => now as f64,
        };
        self.number += 1;
        if self.points.len() == KEPT {
            self.points.pop_front();
        }
        let values = figures.into_iter().zip(before).map(value).collect();
        self.points.push_back(Point { number: self.number, at_ms, values });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_become_rates_and_old_points_go() {
        let mut charts = Charts::of_program();
        let runner =
            |n: u64| RunnerView { completed: n, duplicate: n, in_flight: 3, ..RunnerView::default() };
        charts.add_program(0, &[runner(5)]);
        assert!(charts.newest().is_none());
        charts.add_program(1, &[runner(6), runner(1)]);
        let point = charts.newest().unwrap();
        assert!(point.values[0] > 0.0 && point.values[1] > 0.0);
        assert_eq!((point.number, point.values[2], point.values[3]), (1, 0.0, 6.0));
        // A runner that is gone takes its sums along.
        charts.add_program(2, &[]);
        assert_eq!(charts.newest().unwrap().values, [0.0; 4]);
        for at in 0..2 * KEPT as u64 {
            charts.add_program(at, &[]);
        }
        assert_eq!((charts.points().len(), charts.charts().len()), (KEPT, 4));
    }

    #[test]
    fn a_store_has_numbers_and_one_rate() {
        let mut charts = Charts::of_store();
        charts.add_store(0, StateCounts { done: 1, ..StateCounts::default() });
        charts.add_store(1, StateCounts { claimed: 2, released: 3, done: 9, buried: 4 });
        let values = &charts.newest().unwrap().values;
        assert!(values[0] > 0.0);
        assert_eq!(values[1..], [2.0, 3.0, 4.0]);
    }
}
