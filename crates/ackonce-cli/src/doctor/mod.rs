//! `ackonce doctor`: every setting that silently breaks the promise, with its consequence and its fix.
//!
//! The stores' and the adapters' crates tell facts (`survey`), `judge` holds them against the table of checks, and `report`
//! prints the findings.

mod args;
mod ask;
mod checks;
mod exam;
mod judge;
mod plan;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

pub use self::args::DoctorArgs;
pub use self::checks::{Check, Severity, all as all_checks};
use self::exam::Exam;
use crate::layers::EffectiveSettings;
use crate::refusal::Refusal;
use crate::streams;

/// The result of an examination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DoctorVerdict {
    /// No finding, and every check was made.
    Sound,
    /// The worst finding weakens the promise, or a check could not be made.
    Weakened,
    /// A finding breaks the promise.
    Broken,
    /// The store or the source could not be asked.
    Incomplete,
}

impl DoctorVerdict {
    fn of(worst: Option<Severity>, is_complete: bool) -> Self {
        match worst {
            _ if !is_complete => Self::Incomplete,
            None => Self::Sound,
            Some(Severity::Weakened) => Self::Weakened,
            Some(Severity::Broken) => Self::Broken,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Weakened => Severity::Weakened.word(),
            Self::Broken => Severity::Broken.word(),
            Self::Incomplete => "incomplete",
        }
    }
}

impl From<DoctorVerdict> for ExitCode {
    /// 0, 1, 4, or 3 for one that is incomplete.
    fn from(verdict: DoctorVerdict) -> Self {
        match verdict {
            DoctorVerdict::Sound => Self::SUCCESS,
            DoctorVerdict::Weakened => Self::FAILURE,
            DoctorVerdict::Broken => Self::from(4),
            DoctorVerdict::Incomplete => Self::from(3),
        }
    }
}

/// Examines the store and the source, and prints the findings.
///
/// # Errors
/// [`Refusal`]: wrong usage, or a store or a source that could not be asked; the findings about the other one are printed.
pub fn run(args: &DoctorArgs, settings: &EffectiveSettings) -> Result<DoctorVerdict, Refusal> {
    if args.list {
        return report::list(args.json).map(|()| DoctorVerdict::Sound);
    }
    if args.store.is_none() {
        return Err(Refusal::usage(
            "--store is missing; set it as a flag, as the variable ACKONCE_STORE, or in the file of --config",
        ));
    }
    for sentence in settings.misspelt() {
        streams::note(format_args!("note: {sentence}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Refusal::environment(format!("the runtime could not be started: {e}")))?;
    let examined = runtime.block_on(examine(args));
    // A lookup of a host's name, or a read of a file, that never ends is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let (exam, refusal) = examined?;
    let verdict = DoctorVerdict::of(exam.worst(&args.accept), refusal.is_none());
    if exam.checks() > 0 || refusal.is_none() {
        report::print(&exam, verdict, args)?;
    }
    refusal.map_or(Ok(verdict), Err)
}

/// The examination, and the reason why a part of it could not be made.
async fn examine(args: &DoctorArgs) -> Result<(Exam, Option<Refusal>), Refusal> {
    let source = args.source()?;
    let plan = args.plan(source.as_ref())?;
    let ids = source.as_ref().map(|source| source.message_ids(&plan.ids)).transpose();
    let ids = ids.map_err(|why| Refusal::usage(format!("--id: {why}")))?;
    let limit = args.answer_timeout;
    let of_store = async {
        let Some(url) = &args.store else { return Ok((Exam::default(), None)) };
        let late =
            || Refusal::environment(format!("--store: {url}: no answer within {limit:?} (--answer-timeout)"));
        tokio::time::timeout(limit, ask::store(url, args.deep)).await.unwrap_or_else(|_| Err(late()))
    };
    let of_source = async {
        let (Some(source), Some(ids)) = (&source, &ids) else { return Ok(Exam::default()) };
        let late = || {
            Refusal::environment(format!("--from: {source}: no answer within {limit:?} (--answer-timeout)"))
        };
        let asking = ask::source(source, ids, args.sample, limit, &plan);
        tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| Err(late()))
    };
    let (store, messages) = tokio::join!(of_store, of_source);
    let (mut exam, mut refusals) = (Exam::default(), Vec::new());
    let mut store_timeout = None;
    match store {
        Ok((found, limit)) => {
            exam.add(found);
            store_timeout = limit;
        }
        Err(refusal) => refusals.push(refusal.to_string()),
    }
    match messages {
        Ok(found) => exam.add(found),
        Err(refusal) => refusals.push(refusal.to_string()),
    }
    judge::settings::judge(&plan, store_timeout, source.as_ref().map(|source| source.kind()), &mut exam);
    let refusal = (!refusals.is_empty()).then(|| Refusal::environment(refusals.join("; ")));
    Ok((exam, refusal))
}
