//! The operator's verbs: the records of a store, the reason why a message was skipped, and its next run.

mod args;
mod completions;
mod confirm;
mod dead_letters;
mod forget;
mod ids;
mod import;
mod list;
mod man;
mod outbox;
mod output;
mod progress;
mod redrive;
mod schema;
mod show;
mod stats;
mod sweep;
mod times;

use std::future::Future;
use std::time::Duration;

use clap::{Command, Subcommand};

use crate::layers::EffectiveSettings;
use crate::refusal::Refusal;
pub use completions::CompletionsArgs;
pub use dead_letters::DeadLettersArgs;
pub use forget::ForgetArgs;
pub use import::ImportArgs;
pub use list::ListArgs;
pub use man::ManArgs;
pub use outbox::OutboxArgs;
pub use redrive::RedriveArgs;
pub use schema::SchemaArgs;
pub use show::ShowArgs;
pub use stats::StatsArgs;
pub use sweep::SweepArgs;

/// A verb of operators.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "each is documented at its arguments, from which its help is made")]
pub enum OperateVerb {
    Stats(StatsArgs),
    List(ListArgs),
    Show(ShowArgs),
    Forget(ForgetArgs),
    Redrive(RedriveArgs),
    Sweep(SweepArgs),
    Schema(SchemaArgs),
    Import(Box<ImportArgs>),
    DeadLetters(Box<DeadLettersArgs>),
    Outbox(Box<OutboxArgs>),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Runs a verb. `program` is the whole command line, which completions and manual pages describe.
///
/// # Errors
/// [`Refusal`].
pub fn run(verb: &OperateVerb, settings: &EffectiveSettings, program: Command) -> Result<(), Refusal> {
    match verb {
        OperateVerb::Completions(args) => return completions::run(args, program),
        OperateVerb::Man(args) => return man::run(args, program),
        _ => {}
    }
    if verb.only_checks() {
        return output::text(&settings.to_string());
    }
    match verb {
        OperateVerb::Stats(args) => block_on(stats::run(args)),
        OperateVerb::List(args) => block_on(list::run(args)),
        OperateVerb::Show(args) => block_on(show::run(args)),
        OperateVerb::Forget(args) => block_on(forget::run(args)),
        OperateVerb::Redrive(args) => block_on(redrive::run(args)),
        OperateVerb::Sweep(args) => block_on(sweep::run(args)),
        OperateVerb::Schema(args) => block_on(schema::run(args)),
        OperateVerb::Import(args) => block_on(import::run(args)),
        OperateVerb::DeadLetters(args) => block_on(dead_letters::run(args, settings)),
        OperateVerb::Outbox(args) => block_on(outbox::run(args, settings)),
        OperateVerb::Completions(_) | OperateVerb::Man(_) => Ok(()),
    }
}

impl OperateVerb {
    /// True with `--check`.
    fn only_checks(&self) -> bool {
        match self {
            Self::Stats(args) => args.store.sources.check,
            Self::List(args) => args.store.sources.check,
            Self::Show(args) => args.store.sources.check,
            Self::Forget(args) => args.store.sources.check,
            Self::Redrive(args) => args.store.sources.check,
            Self::Sweep(args) => args.store.sources.check,
            Self::Schema(args) => args.store.sources.check,
            Self::Import(args) => args.store.sources.check,
            Self::DeadLetters(args) => args.sources.check,
            Self::Outbox(args) => args.store.sources.check,
            Self::Completions(_) | Self::Man(_) => false,
        }
    }
}

fn block_on(verb: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Refusal::environment(format!("the runtime could not be started: {e}")))?;
    let ended = runtime.block_on(Box::pin(verb));
    // A lookup of a host's name that never ends is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}
