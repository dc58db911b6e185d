//! The state of a relay, for probes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::OutboxLag;

/// The time without a turn of its loop after which a relay counts as stuck. It turns once a second at least.
const STILL: Duration = Duration::from_secs(30);

/// Follows a relay while it runs: see [`Outbox::with_health`](crate::Outbox::with_health). Cloning is cheap.
#[derive(Clone, Default)]
pub struct OutboxHealth(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// `None` before the relay runs.
    turned: Option<Instant>,
    /// The live relays, and the rows as one of them saw them.
    seen: Option<(usize, OutboxLag)>,
    ranges: usize,
    database: Option<String>,
    publisher: Option<String>,
}

impl OutboxHealth {
    /// True if the relay's loop turns, or has not begun yet. It turns during an outage, too.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state().turned.is_none_or(|turned| turned.elapsed() < STILL)
    }

    /// True if the database has answered and neither it nor the publisher is away.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        state.seen.is_some() && state.database.is_none() && state.publisher.is_none()
    }

    /// The rows that wait, as of a second ago; `None` until the database has answered.
    #[must_use]
    pub fn lag(&self) -> Option<OutboxLag> {
        self.state().seen.map(|(_, lag)| lag)
    }

    /// The details for a person.
    #[must_use]
    pub fn details(&self) -> String {
        let state = self.state();
        let mut text = match state.seen {
            None => "starting".to_owned(),
            Some((relays, lag)) => format!(
                "{} of 16 ranges held, {relays} relays; {} messages wait, the oldest for {:?}; {} are parked",
                state.ranges,
                lag.waiting,
                Duration::from_secs(lag.oldest.as_secs()),
                lag.parked
            ),
        };
        for (thing, error) in [("database", &state.database), ("place to publish to", &state.publisher)] {
            if let Some(error) = error {
                text.push_str(&format!("\nthe {thing} is away: {error}"));
            }
        }
        text
    }

    pub(crate) fn turns(&self) {
        self.state().turned = Some(Instant::now());
    }

    pub(crate) fn seen(&self, relays: usize, lag: OutboxLag) {
        self.state().seen = Some((relays, lag));
    }

    pub(crate) fn holds(&self, ranges: usize) {
        self.state().ranges = ranges;
    }

    /// `None`: it is back.
    pub(crate) fn database(&self, error: Option<String>) {
        self.state().database = error;
    }

    /// `None`: it is back.
    pub(crate) fn publisher(&self, error: Option<String>) {
        self.state().publisher = error;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutboxHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxHealth")
            .field("live", &self.is_live())
            .field("ready", &self.is_ready())
            .finish()
    }
}
