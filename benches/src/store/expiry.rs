//! A writer that goes on while all remembered IDs have expired: the extra time of its trips.

use std::time::{Duration, Instant};

use comfy_table::Table;
use serde_json::json;

use super::Bench;
use super::subject::Subject;
use crate::harness::{figure, percentile, table};
use crate::messages::{Messages, process};

/// As short as a window may be and still be filed as longer ones are.
const WINDOW: Duration = Duration::from_secs(60);
const BATCH: usize = 100;
const TRIPS: usize = 300;

impl Bench<'_> {
    pub(super) fn expiry(&self, subject: &mut dyn Subject) -> anyhow::Result<()> {
        let count = self.options.expiring;
        if count == 0 {
            return Ok(());
        }
        eprintln!("{}: loading {count} to expire", self.name);
        let store = subject.open("expiring")?;
        self.load(subject, "expiring", &store, count, WINDOW)?;
        let loaded = Instant::now();
        let mut messages = Messages::after(1 << 40)?;
        let mut write = |times: &mut Vec<Duration>| {
            let claims = messages.claims(BATCH)?;
            let began = Instant::now();
            self.runtime.block_on(process(&*store, &claims))?;
            times.push(began.elapsed());
            anyhow::Ok(())
        };
        let [mut before, mut along, mut meanwhile] = [const { Vec::new() }; 3];
        for _ in 0..TRIPS {
            write(&mut before)?;
        }
        // Records that the store drops by itself with a write.
        std::thread::sleep((WINDOW + Duration::from_secs(1)).saturating_sub(loaded.elapsed()));
        for _ in 0..TRIPS {
            write(&mut along)?;
        }
        let sweeper = store.clone();
        let sweep = self.runtime.spawn(async move { sweeper.sweep().await });
        loop {
            write(&mut meanwhile)?;
            if sweep.is_finished() {
                break;
            }
        }
        let swept = self.runtime.block_on(sweep)??;

        let title = format!("{}: a writer's trips, {BATCH} messages each", self.name);
        let columns =
            ["dropped", "trips", "p50 µs", "longest µs", "longer in all, ms", "ms per million dropped"];
        let mut shown = table(&title, &columns);
        let usual = mean(&before);
        row(&mut shown, &title, "while nothing has expired", 0, usual, before)?;
        row(
            &mut shown,
            &title,
            "while expired records go with the writes",
            count - swept.min(count),
            usual,
            along,
        )?;
        row(&mut shown, &title, "while the rest is swept", swept, usual, meanwhile)?;
        println!("\n{shown}");
        Ok(())
    }
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap_or(u32::MAX).max(1)
}

fn row(
    shown: &mut Table,
    title: &str,
    arm: &str,
    dropped: u64,
    usual: Duration,
    mut times: Vec<Duration>,
) -> anyhow::Result<()> {
    let trips = times.len();
    // The time of these trips beyond that of as many usual ones.
    let longer = (mean(&times).saturating_sub(usual) * u32::try_from(trips)?).as_secs_f64() * 1e3;
    let [p50, longest] = [50, 100].map(|part| percentile(&mut times, part).as_micros());
    #[allow(clippy::cast_precision_loss, reason = "a ratio is no count")]
    let per_million = (dropped > 0).then(|| longer * 1e6 / dropped as f64);
    let figures = json!({
        "dropped": dropped, "trips": trips, "p50 µs": p50, "longest µs": longest, "longer in all, ms": longer,
        "ms per million dropped": per_million,
    });
    figure(title, arm, figures)?;
    let per_million = per_million.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    let cells = [dropped.to_string(), trips.to_string(), p50.to_string(), longest.to_string()];
    shown.add_row([&[arm.to_owned()][..], &cells, &[format!("{longer:.0}"), per_million]].concat());
    Ok(())
}
