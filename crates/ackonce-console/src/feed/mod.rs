//! The state of store and program, looked at once for all open pages.

mod charts;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::store::Inspect;
use ackonce::{Activity, CancellationToken, RunnerActivity, RunningMessage};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

pub(crate) use charts::Chart;

use crate::names;
use crate::options::Program;
use crate::snapshot::{Point, RunnerView, RunningMessageView, RunningView, Snapshot};
use charts::Charts;
use store::{Answered, LISTED};

/// The interval between two looks at the program.
const LOOK: Duration = Duration::from_secs(1);

/// The charts and the points so far, for a page that opens.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    charts: &'static [Chart],
    points: Vec<Point>,
}

/// Looks at program and store for all pages that are open. The store is asked only while there is one.
pub(crate) struct Feed {
    store: Arc<dyn Inspect>,
    activity: Option<Activity>,
    program: Option<Program>,
    writes: bool,
    charts: Mutex<Charts>,
    answered: Mutex<Answered>,
    /// The number of open pages.
    viewers: watch::Sender<usize>,
    latest: watch::Sender<Arc<Snapshot>>,
}

impl Feed {
    /// Looks on the current runtime until the last clone is dropped or `stop` is cancelled.
    pub(crate) fn start(
        store: Arc<dyn Inspect>,
        activity: Option<Activity>,
        program: Option<Program>,
        writes: bool,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let charts = Mutex::new(activity.map_or_else(Charts::of_store, |_| Charts::of_program()));
        let feed = Arc::new(Self {
            store,
            activity,
            program,
            writes,
            charts,
            answered: Mutex::default(),
            viewers: watch::Sender::new(0),
            latest: watch::Sender::default(),
        });
        let (looks, asks) = (look(Arc::downgrade(&feed)), store::ask(Arc::downgrade(&feed)));
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = async { tokio::join!(looks, asks); } => {}
            }
        });
        feed
    }

    pub(crate) fn history(&self) -> History {
        let charts = lock(&self.charts);
        History { charts: charts.charts(), points: charts.points() }
    }

    /// A page that is open, until it is dropped.
    pub(crate) fn viewer(self: &Arc<Self>) -> Viewer {
        self.viewers.send_modify(|viewers| *viewers += 1);
        Viewer { feed: self.clone(), latest: self.latest.subscribe() }
    }

    fn snapshot(&self) -> Snapshot {
        let answered = lock(&self.answered);
        let running = match self.activity {
            Some(activity) => running(activity),
            None => answered.claims.clone(),
        };
        Snapshot {
            at_ms: now_ms(),
            store: answered.view(&self.store.describe()),
            program: self.program.as_ref().map(Program::view),
            runners: self.runners(),
            running,
            point: lock(&self.charts).newest().cloned(),
            writes: self.writes,
        }
    }

    fn runners(&self) -> Vec<RunnerView> {
        self.activity.iter().flat_map(Activity::runners).map(|runner| runner_view(&runner)).collect()
    }

    fn has_viewers(&self) -> bool {
        *self.viewers.borrow() > 0
    }
}

/// Follows the feed for one page.
pub(crate) struct Viewer {
    feed: Arc<Feed>,
    latest: watch::Receiver<Arc<Snapshot>>,
}

impl Viewer {
    /// The state now.
    pub(crate) fn first(&mut self) -> Arc<Snapshot> {
        self.latest.mark_unchanged();
        Arc::new(self.feed.snapshot())
    }

    /// The next state; `None` once there will be none.
    pub(crate) async fn next(&mut self) -> Option<Arc<Snapshot>> {
        self.latest.changed().await.ok()?;
        Some(self.latest.borrow_and_update().clone())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.feed.viewers.send_modify(|viewers| *viewers = viewers.saturating_sub(1));
    }
}

async fn look(feed: Weak<Feed>) {
    let mut interval = tokio::time::interval(LOOK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(feed) = feed.upgrade() else { return };
        if feed.activity.is_some() {
            lock(&feed.charts).add_program(now_ms(), &feed.runners());
        }
        if feed.has_viewers() {
            feed.latest.send_replace(Arc::new(feed.snapshot()));
        }
    }
}

fn running(activity: Activity) -> RunningView {
    let now = activity.running(LISTED);
    let message = |message: RunningMessage| RunningMessageView {
        scope: Some(message.key.scope().name().to_owned()),
        id: Some(names::shown(message.key.id())),
        attempt: message.attempt,
        age_ms: millis(message.age),
        lease_ms: None,
    };
    RunningView { total: now.total as u64, messages: now.oldest.into_iter().map(message).collect() }
}

fn runner_view(runner: &RunnerActivity) -> RunnerView {
    let RunnerActivity { scope, class, counts, in_flight, .. } = runner;
    RunnerView {
        scope: scope.clone(),
        class: class.as_str().to_owned(),
        in_flight: *in_flight,
        delivered: counts.delivered,
        completed: counts.completed,
        duplicate: counts.duplicate,
        duplicate_of_buried: counts.duplicate_of_buried,
        stale: counts.stale,
        buried: counts.buried,
        handed_back: counts.handed_back,
        retried: counts.retried,
        busy: counts.busy,
        lease_lost: counts.lease_lost,
        store_unavailable: counts.store_unavailable,
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
