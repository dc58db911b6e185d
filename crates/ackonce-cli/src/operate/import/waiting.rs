//! Messages of the store that wait for their next run: those that have failed, and those that were redriven.

use std::collections::HashSet;

use ackonce::Key;
use ackonce::store::{Filter, Inspect, Query, State};
use bytes::Bytes;

use super::super::args::refused;
use super::super::list::PAGE;
use super::Row;
use crate::refusal::Refusal;

/// The messages that waited when the import began.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    named: HashSet<(String, Bytes)>,
    /// There are some whose names the store does not keep: it is asked for each row.
    has_nameless: bool,
}

impl Waiting {
    pub(super) async fn look(store: &dyn Inspect) -> Result<Self, Refusal> {
        let filter = Filter { state: Some(State::Released), ..Filter::default() };
        let (mut query, mut all) = (Query { filter, limit: PAGE, after: None }, Self::default());
        loop {
            let page = store.list(&query).await.map_err(|error| refused(&error))?;
            for entry in page.entries {
                match (entry.scope, entry.id) {
                    (Some(scope), Some(id)) => drop(all.named.insert((scope, id))),
                    _ => all.has_nameless = true,
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// The rows of messages that do not wait, and the number of the others. A claim would complete a message that is to run.
    pub(super) async fn without(
        &self,
        store: &dyn Inspect,
        rows: Vec<Row>,
    ) -> Result<(Vec<Row>, u64), Refusal> {
        if self.named.is_empty() && !self.has_nameless {
            return Ok((rows, 0));
        }
        let (mut others, mut waiting) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            match self.has(store, &row.0).await? {
                true => waiting += 1,
                false => others.push(row),
            }
        }
        Ok((others, waiting))
    }

    async fn has(&self, store: &dyn Inspect, key: &Key) -> Result<bool, Refusal> {
        if self.named.contains(&(key.scope().name().to_owned(), key.id().clone())) {
            return Ok(true);
        }
        if !self.has_nameless {
            return Ok(false);
        }
        let entry = store.look(key).await.map_err(|error| refused(&error))?;
        Ok(entry.is_some_and(|entry| entry.record.state == State::Released))
    }
}
