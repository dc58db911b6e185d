//! Claims and settlements: one batch, one command.

use std::collections::BTreeMap;

use ackonce::protocol::Row;
use ackonce::{Key, Result};
use tokio::sync::oneshot;

use crate::writer::{Outcome, Turn, Work};
use crate::{clock, error, rows};

/// What a batch does with one key: the answer, and the row to write if it changed.
type Decide<R, A> = fn(Option<&Row>, &R, u64) -> (A, Option<Row>);

/// A batch of claims or of settlements.
pub(crate) struct Steps<R, A> {
    pub(crate) requests: Vec<R>,
    pub(crate) key: fn(&R) -> &Key,
    pub(crate) decide: Decide<R, A>,
    /// Whether nobody needs it done once its caller is gone: a claim would only hold up the next one, a
    /// settlement is as true as before.
    pub(crate) droppable: bool,
    pub(crate) answers: Result<Vec<A>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<A>>>,
}

impl<R: Send, A: Send> Work for Steps<R, A> {
    fn rows(&self) -> usize {
        self.requests.len()
    }

    fn run(&mut self, turn: &Turn<'_>) -> Result<usize> {
        if self.droppable && self.reply.is_closed() {
            return Ok(0);
        }
        match decide(&self.requests, self.key, self.decide, turn) {
            Ok((answers, changes)) => {
                changes.iter().try_for_each(|(key, row)| rows::write(turn.tx, key, row, turn.names))?;
                self.answers = Ok(answers);
                Ok(changes.len())
            }
            Err(error) if error::breaks_connection(&error) => Err(error),
            // Nothing is written yet, so a damaged record fails this batch and not the group.
            Err(error) => {
                self.answers = Err(error);
                Ok(0)
            }
        }
    }

    fn answer(self: Box<Self>, outcome: &Outcome) {
        let answers = match outcome {
            Outcome::Committed => self.answers,
            Outcome::Refused(error) | Outcome::Failed(error) => Err(error.clone()),
        };
        let _ = self.reply.send(answers);
    }
}

/// Sorted by digest, so that a batch writes each page once and goes through the table in order.
type Changes<'r> = Vec<(&'r Key, Row)>;

fn decide<'r, R, A>(
    requests: &'r [R],
    key_of: fn(&R) -> &Key,
    step: Decide<R, A>,
    turn: &Turn<'_>,
) -> Result<(Vec<A>, Changes<'r>)> {
    let now = clock::now();
    let mut answers = Vec::with_capacity(requests.len());
    let mut changed: BTreeMap<&[u8; 32], (&Key, Row)> = BTreeMap::new();
    for request in requests {
        let key = key_of(request);
        let digest = key.digest();
        let (answer, change) = match changed.get(digest) {
            Some((_, row)) => step(Some(row), request, now),
            None => match rows::read(turn.tx, digest, now)? {
                Some(seen) => {
                    let (answer, change) = step(Some(&seen.row), request, now);
                    (answer, change.or(seen.moved.then_some(seen.row)))
                }
                None => step(None, request, now),
            },
        };
        answers.push(answer);
        if let Some(row) = change {
            changed.insert(digest, (key, row));
        }
    }
    Ok((answers, changed.into_values().collect()))
}
