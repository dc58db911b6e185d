//! `ackonce forget`.

use ackonce::store::{AdminOutcome, RecordTarget};
use clap::Args;
use serde_json::json;

use super::args::{ChangeArgs, MessageArgs, StoreArgs, refused};
use super::ids::shown;
use super::output::{self, OutputArgs};
use super::{confirm, redrive};
use crate::refusal::Refusal;

/// Remove the record of one message: its next delivery runs as if it were the first
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    ackonce forget evt_1 --scope billing/charge --store sqlite:dedup.db --reason 'test data, ticket 4711'\n\n\
    A message that a worker holds is not touched. To run a message once more, prefer redrive: it keeps the record.")]
pub struct ForgetArgs {
    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &ForgetArgs) -> Result<(), Refusal> {
    let (key, note) = (args.message.key()?, args.change.note()?);
    let store = args.store.inspect().await?;
    let Some(entry) = store.look(&key).await.map_err(|error| refused(&error))? else {
        return told(args, &key, AdminOutcome::Nothing);
    };
    let state = entry.record.state.as_str();
    let change = format!(
        "Message {} of scope {} is {state}. Forgotten, it runs again at its next delivery, also if its effect has happened",
        shown(key.id()),
        key.scope().name()
    );
    confirm::ask(args.change.consent, &change)?;
    let shown = redrive::named(&key, entry);
    let outcome = store.forget(RecordTarget::Listed(&shown), &note).await.map_err(|error| refused(&error))?;
    told(args, &key, outcome)
}

fn told(args: &ForgetArgs, key: &ackonce::Key, outcome: AdminOutcome) -> Result<(), Refusal> {
    let (id, scope) = (shown(key.id()), key.scope().name());
    if outcome == AdminOutcome::InFlight {
        return Err(redrive::in_flight(key));
    }
    if args.output.json {
        let is_forgotten = outcome == AdminOutcome::Yes;
        return output::json(&json!({"scope": scope, "id": id, "forgotten": is_forgotten}));
    }
    output::text(&match outcome {
        AdminOutcome::Yes => format!("forgotten: {id} of scope {scope}\n"),
        _ => format!(
            "nothing to forget: the store has no record of {id} in scope {scope}, or it has changed since it was shown\n"
        ),
    })
}
