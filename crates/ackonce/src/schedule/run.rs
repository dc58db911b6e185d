//! The loop: sleep to the next slot, ask for it, wait for what runs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use crate::{
    CancellationToken, Counts, Deduplicator, Error, ErrorKind, Handler, Job, OnFailure, RecordOnly, Result,
    Runner, Scope, Settings, Why,
};

use super::birth::first_slot;
use super::gate::{Due, Gate, Plan};
use super::slots::{Every, Missed, Slot, id};

/// The longest sleep: a clock that was set, or a machine that slept, is noticed within it.
const LOOK_UP: Duration = Duration::from_secs(30);
/// The shortest window of a job whose slots are short.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A job that runs once per time slot, wherever it is run.
///
/// The job's name is its scope; give every host the same scope, slots and store. Runs of different slots do not
/// wait for each other: one that takes longer than a slot overlaps the next, here or on another host. A handler that
/// fails is run again after the back-off, then buried, as [`Settings`] say.
#[must_use = "a job does nothing until it is run"]
pub struct ScheduledJob {
    scope: Scope,
    every: Every,
    store: Arc<dyn Deduplicator>,
    settings: Settings,
    missed: Missed,
    look_back: u32,
    clock: Clock,
    shutdown: CancellationToken,
}

impl fmt::Debug for ScheduledJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduledJob")
            .field("scope", &self.scope)
            .field("every", &self.every)
            .field("store", &self.store)
            .field("settings", &self.settings)
            .field("missed", &self.missed)
            .field("look_back", &self.look_back)
            .finish_non_exhaustive()
    }
}

impl ScheduledJob {
    /// A job with default [`Settings`], but for a window that reaches over the look-back.
    pub fn new(scope: &Scope, every: Every, store: Arc<dyn Deduplicator>) -> Self {
        let look_back = 10;
        Self {
            scope: scope.clone(),
            every,
            store,
            settings: Settings::default().with_window(WEEK.max(least_window(every, look_back))),
            missed: Missed::default(),
            look_back,
            clock: Arc::new(SystemTime::now),
            shutdown: CancellationToken::new(),
        }
    }

    /// The same with other settings. Their window must reach over the look-back, or a slot that was forgotten would be
    /// taken for one that was missed; [`run`](Self::run) refuses it. A slot is kept until it is settled: `hold`, `patience`
    /// and `HandBack` have no meaning here.
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The same with another policy for slots that nobody ran in time; default [`Missed::Once`].
    pub fn with_missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// The same, looking back that many slots at start and after a sleep; default 10. It bounds the catching up:
    /// what is missed further back stays missed. Each slot looked at costs a claim.
    pub fn with_look_back(mut self, slots: u32) -> Self {
        self.look_back = slots;
        self
    }

    /// The same by another clock than the host's, for tests.
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The same, ended by that token.
    pub fn with_shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// The token that ends it.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Runs the job until it is shut down: at each slot's start, and at once for slots that were missed or left
    /// unfinished. At shutdown a running handler gets [`Settings::drain`] to finish; then it is cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that cannot work; what the store refuses for good.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run<H: Handler<Slot>>(self, handler: H) -> Result<Counts> {
        let least = least_window(self.every, self.look_back);
        if self.settings.window < least {
            let why = format!(
                "Settings::window is {:?}; looking back {} slots takes at least {least:?}",
                self.settings.window, self.look_back
            );
            return Err(Error::new(ErrorKind::Config, why));
        }
        let settings = self.settings.clone().with_hold(Duration::MAX).with_patience(Duration::MAX);
        let settings = settings.with_on_failure(OnFailure::Retry);
        let gate = Gate { handler, window: settings.window };
        let runner =
            Runner::with(self.store.clone(), &self.scope, gate, settings.clone(), Arc::new(RecordOnly))?;
        runner.announce();
        let first =
            first_slot(self.store.clone(), &self.scope, self.every, &settings, &self.shutdown).await?;
        let ended = match first {
            Some(first) => self.slots(&runner, first).await,
            None => Ok(()),
        };
        ended.map(|()| runner.counts())
    }

    async fn slots<H: Handler<Due>>(&self, runner: &Runner<Due, H>, first: SystemTime) -> Result<()> {
        let mut runs = JoinSet::new();
        let mut last = None;
        let ended = loop {
            let mut missed = self.due((self.clock)(), first, &mut last);
            // The current one does not wait for those before it.
            if let Some(current) = missed.pop() {
                runs.spawn(in_turn(runner.clone(), vec![current], self.shutdown.clone()));
            }
            if !missed.is_empty() {
                runs.spawn(in_turn(runner.clone(), missed, self.shutdown.clone()));
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break Ok(()),
                Some(run) = runs.join_next() => match run {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break Err(error),
                    Err(_) => break Err(Error::new(ErrorKind::Protocol, "a slot panicked outside its handler")),
                },
                () = tokio::time::sleep(self.until_next()) => {}
            }
        };
        runner.stop();
        let drained = async { while runs.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.drain, drained).await.is_err() {
            tracing::warn!(target: "ackonce", scope = self.scope.name(), "Settings::drain is over: running slots are cancelled");
            runner.abort();
            while runs.join_next().await.is_some() {}
        }
        ended
    }

    /// The slots to ask for now, oldest first: the current one, and what lies between it and the last one asked for.
    /// A clock that was set back asks again for what it has had; the records know better.
    fn due(&self, now: SystemTime, first: SystemTime, last: &mut Option<SystemTime>) -> Vec<Due> {
        let Some(current) = self.every.at(now) else { return Vec::new() };
        if *last == Some(current) {
            return Vec::new();
        }
        let after = last.replace(current).filter(|last| *last < current);
        // Within half of its length a slot is on time: hosts that start together, and a scheduler's hiccup.
        let on_time = now.duration_since(current).is_ok_and(|age| age <= self.every.length / 2);
        let plan = |start: SystemTime| match self.missed {
            Missed::All => Plan::Run,
            Missed::Once if start == current => Plan::Run,
            Missed::Skip if start == current && on_time => Plan::Run,
            Missed::Once | Missed::Skip => Plan::Skip,
        };
        let slots = self.every.up_to(current, self.look_back).into_iter();
        slots
            .filter(|start| *start >= first && after.is_none_or(|after| *start > after))
            .map(|start| Due::new(Slot { start, length: self.every.length }, plan(start)))
            .collect()
    }

    fn until_next(&self) -> Duration {
        let now = (self.clock)();
        let next = self.every.after(now).and_then(|next| next.duration_since(now).ok());
        next.unwrap_or(LOOK_UP).min(LOOK_UP)
    }
}

/// Slots one after another, each until it is settled; what is early waits for its time.
async fn in_turn<H: Handler<Due>>(
    runner: Runner<Due, H>,
    slots: Vec<Due>,
    shutdown: CancellationToken,
) -> Result<()> {
    for mut due in slots {
        loop {
            let key = runner.key(id(due.slot.start)).map_err(invalid)?;
            let unsettled = match runner.process(Job::new(key, due.clone())).await {
                Ok(_) => break,
                Err(unsettled) => unsettled,
            };
            match (unsettled.why(), due.early()) {
                (Why::Fatal(error), _) => return Err(error.clone()),
                (Why::NotCurrent, Some(early)) => tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(early) => due = due.again(),
                },
                _ => return Ok(()),
            }
        }
    }
    Ok(())
}

/// A slot must be remembered until nobody looks back at it: the look-back, the current slot, and one for clocks that
/// are apart.
fn least_window(every: Every, look_back: u32) -> Duration {
    every.length.saturating_mul(look_back.saturating_add(2))
}

fn invalid(error: crate::KeyError) -> Error {
    Error::new(ErrorKind::Invalid, error.to_string())
}
