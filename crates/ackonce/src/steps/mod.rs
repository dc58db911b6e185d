//! The steps of a handler: each is recorded when it has finished, and does not run again after a crash.

mod name;

use std::fmt;
use std::future::Future;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;

use crate::class::Class;
use crate::context::Context;
use crate::error::BoxError;
use crate::failure::Failure;
use crate::journal::{Beginning, Journal, RecordedStep};
use crate::settle::{Settle, Settled, Settlement};

pub use self::name::StepName;

/// The longest outcome of a step, in bytes of JSON: 64 KiB.
pub const MAX_STEP_LEN: usize = 64 << 10;
/// The most bytes that all steps of a message take in its record: 1 MiB.
pub const MAX_STEPS_LEN: usize = 1 << 20;

impl Context {
    /// Runs a part of the handler, records its outcome under the message's key, and returns it. Once it is recorded, the
    /// step does not run again, however often its message does: a later attempt is given the recorded outcome.
    ///
    /// ```
    /// use ackonce::{Context, Failure, Keyed};
    /// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
    /// # async fn charge(_card: &str, _key: String) -> Result<String, std::io::Error> { Ok("ch_1".into()) }
    /// # async fn email(_charge: &str) -> Result<(), std::io::Error> { Ok(()) }
    ///
    /// is_handler(Keyed(|cx: Context, card: String| async move {
    ///     let charge = cx.step("charge", |step| async move { Ok(charge(&card, step.idempotency_key()).await?) }).await?;
    ///     cx.step("receipt", |_| async move { Ok(email(&charge).await?) }).await?;
    ///     Ok(())
    /// }));
    /// ```
    ///
    /// # Cost
    /// One settlement for each step, which shares its trip with those of other messages; steps that finish together
    /// (`join!`) share one. A step that is found costs none: the claim has brought it.
    ///
    /// # A crash
    /// - Before the step's effect: it runs at the next attempt.
    /// - Between its effect and its record: it runs again. That window is the one of [`Class::Leased`], for one step in place
    ///   of the whole handler. A target that is given [`Step::idempotency_key`] closes it: [`Keyed`](crate::Keyed).
    /// - After its record: it does not run again. The record lives as long as that of its message is unfinished, buried
    ///   or released, and is fenced by its claim: a worker that was taken over records nothing any more.
    ///
    /// # Outcomes
    /// An outcome is kept as JSON of at most [`MAX_STEP_LEN`], [`MAX_STEPS_LEN`] for all steps of a message. The value that
    /// is returned was read back from it, at the first run too. A failure is no outcome and not recorded: the step runs
    /// again when its message does, also after a redrive, whose reason is that the cause was mended. A refusal on which the
    /// handler acts (a declined card, upon which it cancels the order) belongs into the outcome: `Ok(Charge::Declined)`.
    ///
    /// # Names
    /// The name is the identity. Steps may be added, left out and put in another order by a deploy; recorded ones that the
    /// handler does not ask for any more are kept and ignored. An outcome that cannot be read as the type which the
    /// handler has now, or of another [version](StepName::with_version), is an error that names the step.
    ///
    /// # Errors
    /// - That of `run`, with the step's name before it.
    /// - [`Failure::Fenced`]: the claim was taken over.
    /// - [`Failure::Retry`]: two steps of one run have one name; a recorded outcome cannot be read. A deploy can mend
    ///   both, and no payload is given up for it.
    /// - [`Failure::Permanent`]: the outcome is too long, or no JSON can be made of it. The effect has happened, so that it
    ///   must not run again.
    /// - [`Failure::Permanent`] in a handler of class [`AtMostOnce`](Class::AtMostOnce), which never runs again, and of
    ///   class [`Inbox`](Class::Inbox), whose transaction is its one step.
    ///
    /// If the step's future is dropped midway (a time-out, `select!`), its effect may have happened: a failure of this
    /// run then counts as [`Failure::Unknown`], and [`OnUnknown`](crate::OnUnknown) decides.
    ///
    /// A context made by hand, in a test of the handler, runs each step and records nothing.
    pub async fn step<T, F, Fut>(&self, name: impl Into<StepName>, run: F) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(Step) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let name = name.into();
        run_step(self, None, name, run).await
    }
}

/// A step while it runs: its own key for the target of its effect, and steps inside it. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Step {
    cx: Context,
    path: String,
}

impl Step {
    /// The name; that of an inner step has its outer one's and `/` before it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.path
    }

    /// The idempotency key of this step: [`Context::idempotency_key`] with its name. It is the same for every delivery,
    /// attempt and restart.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.cx.idempotency_key(&self.path)
    }

    /// The context of the handler's run.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// A step inside this one, as [`Context::step`]. Its name need only differ from those of its siblings.
    ///
    /// # Errors
    /// As [`Context::step`].
    pub async fn step<T, F, Fut>(&self, name: impl Into<StepName>, run: F) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(Step) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let name = name.into();
        run_step(&self.cx, Some(&self.path), name, run).await
    }
}

async fn run_step<T, F, Fut>(cx: &Context, outer: Option<&str>, name: StepName, run: F) -> Result<T, Failure>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(Step) -> Fut,
    Fut: Future<Output = Result<T, Failure>>,
{
    if let Some(fault) = name.fault() {
        return Err(Failure::Retry(fault.into()));
    }
    check_class(cx)?;
    let path = outer.map_or(name.name.clone(), |outer| format!("{outer}/{}", name.name));
    let journal = cx.journal();
    match journal.begin(&path).map_err(|error| in_step(&path, error.into()))? {
        Beginning::Runs => {}
        Beginning::Finished(recorded) => {
            let value = recorded_value(&recorded, name.version)?;
            cx.note_step(&path, true);
            return Ok(value);
        }
        Beginning::Twice => return Err(Failure::Retry(twice(&path))),
    }
    let _ending = Ending { journal, path: &path };
    let step = Step { cx: cx.clone(), path: path.clone() };
    let value = match run(step).await {
        Ok(value) => value,
        Err(failure) => {
            journal.failed(&path);
            return Err(in_step(&path, failure));
        }
    };
    let outcome = outcome_of(&path, &value)?;
    record(cx, journal, &path, name.version, &outcome).await?;
    journal.finished(&path);
    cx.note_step(&path, false);
    serde_json::from_slice(&outcome).map_err(|error| unreadable(&path, error, Failure::permanent))
}

/// Tells the journal of the end of a step's future, however it ends.
struct Ending<'j> {
    journal: &'j Journal,
    path: &'j str,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.journal.ended(self.path);
    }
}

fn check_class(cx: &Context) -> Result<(), Failure> {
    match cx.trips()?.map(|trips| trips.class()) {
        None | Some(Class::Leased | Class::Keyed) => Ok(()),
        Some(class) => Err(Failure::permanent(format!(
            "steps are for handlers of class leased and keyed; this one is of class {class}"
        ))),
    }
}

fn outcome_of<T: Serialize>(path: &str, value: &T) -> Result<Vec<u8>, Failure> {
    let outcome = serde_json::to_vec(value).map_err(|error| unreadable(path, error, Failure::permanent))?;
    match outcome.len() {
        0..=MAX_STEP_LEN => Ok(outcome),
        len => Err(Failure::permanent(format!(
            "step {path:?}: its outcome has {len} bytes of JSON, at most {MAX_STEP_LEN} are recorded; its effect has happened"
        ))),
    }
}

/// Saves the journal with this step, or lets another step of the message save both.
async fn record(
    cx: &Context,
    journal: &Journal,
    path: &str,
    version: u32,
    outcome: &[u8],
) -> Result<(), Failure> {
    let Some(length) = journal.write(path, version, outcome, MAX_STEPS_LEN) else {
        return Err(Failure::permanent(format!(
            "step {path:?}: the steps of its message take more than the {MAX_STEPS_LEN} bytes that are recorded; its effect \
             has happened"
        )));
    };
    let Some((progress, _turn)) = journal.turn(length).await else { return Ok(()) };
    let length = progress.len();
    let settlement = Settlement::new(cx.lease(), Settle::Save { progress });
    let settled = cx.settle(&[settlement]).await.map_err(|failure| in_step(path, failure))?;
    if settled.first() == Some(&Settled::Lost) {
        return Err(Failure::Fenced);
    }
    journal.saved(length);
    Ok(())
}

fn recorded_value<T: DeserializeOwned>(recorded: &RecordedStep, version: u32) -> Result<T, Failure> {
    let RecordedStep { name, version: found, outcome } = recorded;
    if *found != version {
        return Err(Failure::Retry(
            format!("step {name:?}: its recorded outcome has version {found}, and this handler has version {version} of it")
                .into(),
        ));
    }
    serde_json::from_slice(outcome)
        .map_err(|error| unreadable(name, error, |error| Failure::Retry(error.into())))
}

fn unreadable(path: &str, error: serde_json::Error, failure: fn(StepError) -> Failure) -> Failure {
    failure(StepError {
        message: format!("step {path:?}: its outcome is not readable as this type"),
        source: error.into(),
    })
}

fn twice(path: &str) -> BoxError {
    format!("step {path:?} was begun twice in one run: give each step a name of its own").into()
}

/// A failure with the step's name before its reason.
fn in_step(path: &str, failure: Failure) -> Failure {
    failure.map_reason(|source| Box::new(StepError { message: format!("step {path:?}"), source }))
}

/// A step's name before its error.
#[derive(Debug)]
struct StepError {
    message: String,
    source: BoxError,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
