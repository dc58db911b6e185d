//! The inbox without a driver: its settings, and the memory from one transaction to the next.

use std::sync::atomic::AtomicBool;

use ackonce::store::Suspects;

use super::settings::InboxSettings;
use super::statements::InboxTexts;
use crate::{PostgresStore, Prepare};

/// An inbox for one store, without a driver: it groups messages and remembers those that have to run alone.
#[derive(Debug)]
pub struct InboxCore {
    pub(super) store: PostgresStore,
    pub(super) settings: InboxSettings,
    pub(super) texts: InboxTexts,
    pub(super) suspects: Suspects,
    /// True once a handler has ignored a failed statement or ended its transaction: the next may do so, too.
    pub(super) swallows: AtomicBool,
}

impl InboxCore {
    /// An inbox whose records are in `store`.
    #[must_use]
    pub fn new(store: &PostgresStore, settings: InboxSettings) -> Self {
        Self {
            texts: InboxTexts::new(&store.inner, &settings),
            store: store.clone(),
            settings,
            suspects: Suspects::default(),
            swallows: AtomicBool::new(false),
        }
    }

    /// Replaces the settings.
    #[must_use]
    pub fn with_settings(self, settings: InboxSettings) -> Self {
        Self { texts: InboxTexts::new(&self.store.inner, &settings), settings, ..self }
    }

    /// True if statements may stay prepared on their connection ([`Prepare::Cached`]).
    #[must_use]
    pub fn keeps_prepared(&self) -> bool {
        self.store.inner.config.prepare == Prepare::Cached
    }
}
