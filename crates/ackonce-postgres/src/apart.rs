//! A batch some of whose records another transaction holds: those wait, the others go on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ackonce::{ErrorKind, Result};

use crate::key::Id;
use crate::link::Locks;

/// A record that was held is asked for by itself for so long.
const REMEMBERED: Duration = Duration::from_secs(1);
/// The most that are remembered.
const MOST: usize = 1 << 14;

/// The records that were held lately.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<Id, Instant>>);

impl Held {
    /// Whether nothing is, which is the usual.
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

/// Requests on their way: together, or in halves where a lock does not come, until those whose records are held are alone.
/// They are left without an answer, and so are all that are not answered by the deadline.
pub(crate) struct Parts<'h, T> {
    ids: Vec<Id>,
    held: &'h Held,
    deadline: tokio::time::Instant,
    /// The places of requests that are still to be sent; the next part is the last one.
    parts: Vec<(Vec<usize>, Locks)>,
    answers: Vec<Option<T>>,
}

impl<'h, T> Parts<'h, T> {
    /// Of requests for these records; a sole one waits so long for its lock.
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

    /// The places of the requests to send next, and how long they may wait for a lock.
    pub(crate) fn next(&mut self) -> Option<(Vec<usize>, Locks)> {
        self.parts.pop()
    }

    /// Takes the answers to that part.
    ///
    /// # Errors
    /// An error that is no lock's. Requests carry their tokens, so those that went through may be sent again.
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

    /// One for each request, in order.
    pub(crate) fn into_answers(self) -> Vec<Option<T>> {
        self.answers
    }
}
