//! Draws the figures that `--json` has collected: the rates of a broker's consumers, stores as they fill, and memory over time.

mod bars;
mod lines;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

#[derive(Args)]
pub(crate) struct Options {
    /// The folder with the figures, *.jsonl
    from: PathBuf,
    /// Directory for the drawings
    #[arg(long, default_value = "docs/performance")]
    to: PathBuf,
}

/// One arm of one table.
#[derive(Deserialize)]
struct Figure {
    title: String,
    arm: String,
    figures: Value,
}

impl Figure {
    fn number(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64()
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let figures = read(options)?;
    fs::create_dir_all(&options.to)?;
    for broker in ["Kafka", "RabbitMQ"] {
        let rows = bars::rows(&figures, broker);
        if !rows.is_empty() {
            let file = options.to.join(format!("{}.svg", broker.to_lowercase()));
            bars::draw(&file, &format!("{broker}: messages of 200 bytes a second, by one consumer"), &rows)?;
            println!("{}", file.display());
        }
    }
    for drawing in lines::drawings(&figures) {
        let file = options.to.join(drawing.file);
        drawing.draw(&file)?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Later figures of an arm replace earlier ones.
fn read(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut figures: Vec<Figure> = Vec::new();
    for entry in fs::read_dir(&options.from).with_context(|| options.from.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let new: Figure = serde_json::from_str(line).with_context(|| path.display().to_string())?;
            match figures.iter_mut().find(|old| old.title == new.title && old.arm == new.arm) {
                Some(old) => *old = new,
                None => figures.push(new),
            }
        }
    }
    Ok(figures)
}
