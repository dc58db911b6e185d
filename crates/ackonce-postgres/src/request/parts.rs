//! A batch of which another transaction holds some records: those requests wait, the others go on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ackonce::{ErrorKind, Result};

use crate::connection::Locks;
use crate::records::Id;

/// The time for which a request for a held record is sent alone.
const REMEMBERED: Duration = Duration::from_secs(1);
/// The most held records to remember.
const MOST: usize = 1 << 14;

/// The records that were held lately.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<Id, Instant>>);

impl Held {
    /// True if no record was held lately, the usual case.
    fn is_empty(&self) -> bool {
        self.with(|held| held.is_empty())
    }

    fn has(&self, id: &Id) -> bool {
        self.with(|held| held.get(id).is_some_and(|since| since.elapsed() < REMEMBERED))
    }

    fn add(&self, id: Id) {
        self.with(|held| {
            held.retain(|_, since| since.elapsed() < REMEMBERED);
            if held.len() < MOST {
                held.insert(id, Instant::now());
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<Id, Instant>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Requests in flight: together at first; after a lock timeout in halves, until each request for a held record is alone.
/// Those requests, and all that the deadline cuts off, are left without an answer.
pub(crate) struct Parts<'h, T> {
    ids: Vec<Id>,
    held: &'h Held,
    deadline: tokio::time::Instant,
    /// The places of requests that are still to be sent; the next part is the last one.
    parts: Vec<(Vec<usize>, Locks)>,
    answers: Vec<Option<T>>,
}

impl<'h, T> Parts<'h, T> {
    /// Starts requests for these records; `sole` is the lock wait of a request that is the only one.
    pub(crate) fn new(ids: Vec<Id>, held: &'h Held, deadline: tokio::time::Instant, sole: Locks) -> Self {
        let watch = ids.len() > 1 && !held.is_empty();
        let (known, rest): (Vec<_>, _) = (0..ids.len()).partition(|&n| watch && held.has(&ids[n]));
        let mut parts: Vec<_> = known.into_iter().map(|n| (vec![n], Locks::Hurry)).collect();
        if !rest.is_empty() {
            parts.push((rest, if ids.len() == 1 { sole } else { Locks::Wait }));
        }
        let answers = ids.iter().map(|_| None).collect();
        Self { ids, held, deadline, parts, answers }
    }

    /// The places of the requests to send next, and their lock wait.
    pub(crate) fn next(&mut self) -> Option<(Vec<usize>, Locks)> {
        self.parts.pop()
    }

    /// Takes the answers to that part.
    ///
    /// # Errors
    /// Any error but a lock timeout. Requests carry their tokens, so those that were applied may be sent again.
    pub(crate) fn answered(
        &mut self,
        (mut part, _): (Vec<usize>, Locks),
        answers: Result<Vec<T>>,
    ) -> Result<()> {
        match answers {
            Ok(answers) => part.iter().zip(answers).for_each(|(&n, answer)| self.answers[n] = Some(answer)),
            Err(error) if error.kind() != ErrorKind::Locked => return Err(error),
            Err(_) if part.len() == 1 => self.held.add(self.ids[part[0]]),
            Err(_) => {
                let other = part.split_off(part.len() / 2);
                self.parts.extend([(other, Locks::Hurry), (part, Locks::Hurry)]);
            }
        }
        if tokio::time::Instant::now() >= self.deadline {
            self.parts.clear();
        }
        Ok(())
    }

    /// One answer for each request, in order.
    pub(crate) fn into_answers(self) -> Vec<Option<T>> {
        self.answers
    }
}
