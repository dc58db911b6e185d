//! `ackonce sweep`.

use clap::Args;
use serde_json::json;

use super::args::{ConsentArgs, StoreArgs, refused};
use super::confirm;
use super::output::{self, OutputArgs};
use crate::refusal::Refusal;

/// Drop expired records, without stopping the writers
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    ackonce sweep --store postgres://app@db/app --yes\n\n\
    Stores sweep by themselves as they write, unless sweep=manual is in their URL; an expired record is not there for any claim \
    before it is swept, too. A run that is killed has dropped a part.")]
pub struct SweepArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    consent: ConsentArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &SweepArgs) -> Result<(), Refusal> {
    let store = args.store.inspect().await?;
    let change = format!("Records in {} whose window is over will be dropped", args.store.store);
    confirm::ask(args.consent, &change)?;
    let dropped = store.sweep().await.map_err(|error| refused(&error))?;
    match args.output.json {
        true => output::json(&json!({"dropped": dropped})),
        false => output::text(&format!("dropped: {}\n", output::count(dropped, "expired record"))),
    }
}
