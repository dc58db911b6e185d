//! A scheduled job and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::CancellationToken;
use crate::bury::RecordOnly;
use crate::deduplicator::Deduplicator;
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::key::Scope;
use crate::observe::Counts;
use crate::runner::Runner;
use crate::settings::{OnFailure, Settings};

use super::clock::{HostClock, StoreClock};
use super::handler::SlotHandler;
use super::run::{Progress, Run};
use super::slot::{Missed, Slot};
use super::slots::Schedule;

/// The furthest look-back.
const MOST_BACK: u32 = 10_000;

/// A job that runs once per time slot, wherever it is run.
///
/// The job's name is its scope; give every host the same scope, schedule, settings and store. Runs of different slots
/// do not wait for each other: one that takes longer than a slot overlaps the next, here or on another host. A handler
/// that fails is run again after the back-off, then buried, as [`Settings`] say.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ackonce::{Context, Failure, MemoryStore, Scope};
/// use ackonce::schedule::{Every, Missed, ScheduledJob, Slot};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let every_hour = Every::new(Duration::from_secs(3600))?;
/// let job = ScheduledJob::new(&Scope::new("reports/hourly")?, every_hour, Arc::new(MemoryStore::new()))
///     .with_missed(Missed::All)       // an outage of three hours is followed by three reports
///     .with_look_back(24);
/// job.run(|_cx: Context, slot: Slot| async move {
///     println!("the report from {:?}", slot.start);
///     Ok::<(), Failure>(())
/// })
/// .await?;
/// # Ok(()) }
/// ```
#[must_use = "a job does nothing until it is run"]
pub struct ScheduledJob {
    scope: Scope,
    schedule: Schedule,
    store: Arc<dyn Deduplicator>,
    settings: Settings,
    missed: Missed,
    look_back: u32,
    clock: HostClock,
    shutdown: CancellationToken,
}

impl fmt::Debug for ScheduledJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduledJob")
            .field("scope", &self.scope)
            .field("schedule", &self.schedule)
            .field("store", &self.store)
            .field("settings", &self.settings)
            .field("missed", &self.missed)
            .field("look_back", &self.look_back)
            .finish_non_exhaustive()
    }
}

impl ScheduledJob {
    /// A job with default [`Settings`].
    pub fn new(scope: &Scope, schedule: impl Into<Schedule>, store: Arc<dyn Deduplicator>) -> Self {
        Self {
            scope: scope.clone(),
            schedule: schedule.into(),
            store,
            settings: Settings::default(),
            missed: Missed::default(),
            look_back: 10,
            clock: Arc::new(SystemTime::now),
            shutdown: CancellationToken::new(),
        }
    }

    /// The same with other settings. [`Settings::window`] must reach over the look-back and two more slots, or a slot
    /// that was forgotten would be taken for one that was missed: the default of 7 days is raised to that by itself,
    /// any other that is shorter is refused by [`check`](Self::check). A slot is kept until it is settled: `busy_timeout`,
    /// `store_timeout` and `HandBack` have no meaning here.
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The same with another policy for slots that nobody ran in time; default [`Missed::Once`].
    pub fn with_missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// The same, looking back that many slots at start and after a sleep; default 10, at most 10,000. It bounds the
    /// catching up: a slot that was missed further back, or longer ago than [`Settings::window`], stays missed. Each slot
    /// looked at costs a claim.
    pub fn with_look_back(mut self, slots: u32) -> Self {
        self.look_back = slots;
        self
    }

    /// The same by another clock than the host's, for tests. It decides nothing: where it disagrees with the steady
    /// clock on how much time has passed, the store is asked for the time again.
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

    /// Refuses settings that cannot work; [`run`](Self::run) does so as well.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the setting and the least or most that works.
    pub fn check(&self) -> Result<()> {
        self.effective().map(drop)
    }

    /// The settings that its runner gets.
    fn effective(&self) -> Result<Settings> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Config, why));
        if self.look_back > MOST_BACK {
            let slots = self.look_back;
            return refuse(format!(
                "ScheduledJob::with_look_back: {slots} slots are over the most of {MOST_BACK}"
            ));
        }
        let mut settings = self.settings.clone();
        let least = self.least_window(self.look_back);
        if settings.window == Settings::default().window {
            settings.window = settings.window.max(least);
        }
        if settings.window < least {
            let window = settings.window;
            let fits = (0..self.look_back).rev().find(|slots| self.least_window(*slots) <= window);
            let or_less = match fits {
                Some(slots) => format!(", or ScheduledJob::with_look_back to {slots} at most"),
                None => String::new(),
            };
            return refuse(format!(
                "Settings::window of {window:?} is too short for a look-back of {} slots ({}): set it to {}s at least{or_less}",
                self.look_back,
                self.schedule,
                least.as_secs_f64().ceil()
            ));
        }
        settings.check()?;
        let settings = settings.with_busy_timeout(Duration::MAX).with_store_timeout(Duration::MAX);
        Ok(settings.with_on_failure(OnFailure::Retry))
    }

    /// A slot must be remembered until nobody looks back at it: the look-back, the current slot and the next.
    fn least_window(&self, look_back: u32) -> Duration {
        self.schedule.span(look_back.saturating_add(2))
    }

    /// Runs the job until it is shut down: at each slot's start, and at once for slots that were missed or left
    /// unfinished. At shutdown a running handler gets [`Settings::shutdown_timeout`] to finish; then it is cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] as from [`check`](Self::check); an answer with which the store refuses for good.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run<H: Handler<Slot>>(self, handler: H) -> Result<Counts> {
        let settings = self.effective()?;
        let handler = SlotHandler { handler, window: settings.window };
        let runner = Runner::with(self.store.clone(), &self.scope, handler, settings, Arc::new(RecordOnly))?;
        runner.announce();
        let clock = StoreClock::new(&self.scope, self.clock.clone());
        let Self { schedule, missed, look_back, shutdown, .. } = self;
        let progress = Progress::default();
        let run = Run { schedule, missed, look_back, shutdown, runner: runner.clone(), clock, progress };
        run.until_shutdown().await?;
        Ok(runner.counts())
    }
}
