//! The inbox without a driver: its settings, and the memory from one transaction to the next.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use ackonce::Item;
use ackonce::store::Suspects;

use super::group::InboxGroup;
use super::settings::InboxSettings;
use super::statements::InboxTexts;
use crate::{PostgresStore, Prepare};

/// The most messages of one transaction. Each has a savepoint, and PostgreSQL caches 64 of them per transaction; above
/// that every session's visibility check of a row gets slower.
const MAX_GROUP: usize = 60;

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

    /// Splits the items into groups that share a transaction, in order.
    pub fn groups<M: Send + 'static>(&self, items: Vec<Item<M>>) -> Vec<InboxGroup<'_, M>> {
        let mut groups: Vec<Vec<Item<M>>> = Vec::new();
        let mut keys = HashSet::new();
        let mut closed = true;
        for item in items {
            let alone = self.suspects.has(item.cx.key());
            match groups.last_mut() {
                Some(group)
                    if !closed
                        && !alone
                        && group.len() < MAX_GROUP
                        && keys.insert(*item.cx.key().digest()) =>
                {
                    group.push(item);
                }
                _ => {
                    keys = HashSet::from([*item.cx.key().digest()]);
                    groups.push(vec![item]);
                }
            }
            closed = alone;
        }
        groups.into_iter().map(|items| InboxGroup::new(self, items)).collect()
    }
}
