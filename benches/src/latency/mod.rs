//! The latency that is added to a message without load: a hundred messages a second, one at a time.

mod kafka;
mod store;

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::awake::Awake;
use crate::harness::{figure, permille, settings, table};
use crate::stores::Stores;

/// From one message of an arm to its next.
const PACE: Duration = Duration::from_millis(10);

#[derive(Args)]
pub(crate) struct Options {
    /// The Kafka cluster for the way from producer to handler; without one, librdkafka's inside this process
    #[arg(long, env = "ACKONCE_TEST_KAFKA")]
    brokers: Option<String>,
    #[command(flatten)]
    stores: Stores,
    /// Messages of each arm, a hundred a second
    #[arg(long, default_value_t = 3_000)]
    messages: usize,
    /// Keep the cores awake meanwhile
    #[arg(long)]
    busy: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    settings(json!({
        "messages per second": 1.0 / PACE.as_secs_f64(),
        "messages of each arm": options.messages,
        "cores": std::thread::available_parallelism()?.get(),
        "cores kept awake": options.busy,
    }));
    let _awake = options.busy.then(Awake::start).transpose()?;
    let (_directory, places) = options.stores.open(&runtime)?;
    for place in places {
        let title = options.title(&format!("Latency, {}", place.name));
        let arms = runtime.block_on(store::measure(place, options.messages))?;
        show(&title, ["to the handler", "to the record", "both"], arms)?;
    }
    let arms = kafka::measure(&runtime, options)?;
    show(&options.title("Latency, Kafka"), ["to the handler", "handler to done", "both"], arms)
}

impl Options {
    fn title(&self, title: &str) -> String {
        let awake = if self.busy { ", cores kept awake" } else { "" };
        format!("{title}{awake}, µs")
    }
}

/// The time of each message of an arm before its handler, and after it.
#[derive(Default)]
struct Times {
    before: Vec<Duration>,
    after: Vec<Duration>,
}

impl Times {
    fn add(&mut self, before: Duration, after: Duration) {
        self.before.push(before);
        self.after.push(after);
    }
}

/// In tenths of a per cent.
const SHOWN: [(&str, usize); 3] = [("p50", 500), ("p99", 990), ("p99.9", 999)];

fn show(title: &str, parts: [&str; 3], arms: Vec<(String, Times)>) -> anyhow::Result<()> {
    let columns = parts.iter().flat_map(|part| SHOWN.map(|(name, _)| format!("{part}: {name}")));
    let columns: Vec<String> = columns.chain(["p99 to the first".to_owned()]).collect();
    let mut shown = table(title, &columns.iter().map(String::as_str).collect::<Vec<_>>());
    let mut first = None;
    for (name, Times { mut before, mut after }) in arms {
        let mut both: Vec<_> = before.iter().zip(&after).map(|(before, after)| *before + *after).collect();
        let mut row = vec![name.clone()];
        let mut figures = serde_json::Map::new();
        for (part, times) in parts.iter().zip([&mut before, &mut after, &mut both]) {
            for (percent, thousandths) in SHOWN {
                let time = permille(times, thousandths);
                row.push(time.as_micros().to_string());
                figures.insert(format!("{part}: {percent}"), json!(time.as_micros()));
            }
        }
        let p99 = permille(&mut both, 990).as_secs_f64();
        let ratio = p99 / *first.get_or_insert(p99);
        figures.insert("ratio".to_owned(), json!(ratio));
        row.push(format!("{ratio:.2}"));
        figure(title, &name, figures.into())?;
        shown.add_row(row);
    }
    println!("\n{shown}");
    Ok(())
}
