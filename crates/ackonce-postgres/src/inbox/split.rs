//! The messages of a batch, split into transactions.

use std::collections::HashSet;

use ackonce::Item;

use super::core::InboxCore;
use super::group::InboxGroup;

/// The most messages of one transaction. Each has a savepoint, and PostgreSQL caches 64 of them per transaction; above
/// that every session's visibility check of a row gets slower.
const MAX_GROUP: usize = 60;

impl InboxCore {
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
