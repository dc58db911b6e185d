//! Claims and settlements: each batch is one command.

use ackonce::protocol::Row;
use ackonce::store::{ClaimRequest, Settlement, Token};
use ackonce::{Key, Result};
use tokio::sync::oneshot;

use crate::error;
use crate::lookup::Home;
use crate::record_key::RecordKey;
use crate::records::Records;
use crate::writer::{Outcome, Turn, Work};

/// The decision about one key of a batch: the answer, and the row to write if it changed.
type Decide<R, A> = fn(Option<&Row>, &R, u64) -> (A, Option<Row>);

/// A request about one key by one attempt.
pub(crate) trait Request {
    fn key(&self) -> &Key;
    fn token(&self) -> Token;
}

impl Request for ClaimRequest {
    fn key(&self) -> &Key {
        &self.key
    }
    fn token(&self) -> Token {
        self.token
    }
}

impl Request for Settlement {
    fn key(&self) -> &Key {
        &self.key
    }
    fn token(&self) -> Token {
        self.token
    }
}

/// A batch of claims or of settlements.
pub(crate) struct Batch<R, A> {
    pub(crate) requests: Vec<R>,
    pub(crate) decide: Decide<R, A>,
    /// True if the batch may be dropped once its caller is gone: a claim would only hold up the next attempt, while a
    /// settlement is carried out even without a caller.
    pub(crate) droppable: bool,
    pub(crate) answers: Result<Vec<A>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<A>>>,
}

impl<R: Request + Send, A: Send> Work for Batch<R, A> {
    fn rows(&self) -> usize {
        self.requests.len()
    }

    fn run(&mut self, turn: &Turn<'_>) -> Result<usize> {
        if self.droppable && self.reply.is_closed() {
            return Ok(0);
        }
        let now = turn.clock.now();
        match decide(&self.requests, self.decide, turn.records, now) {
            Ok((answers, changes)) => {
                for change in &changes {
                    turn.records.write(&change.name, change.key, &change.row, change.home, now)?;
                }
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

/// A record to write.
struct Change<'r> {
    name: RecordKey,
    key: &'r Key,
    row: Row,
    home: Option<Home>,
}

/// Returns the answers in the order of the requests and the changes in the order of the names: a batch then goes
/// through tables and filters once, from one end to the other.
fn decide<'r, R: Request, A>(
    requests: &'r [R],
    step: Decide<R, A>,
    records: &Records<'_>,
    now: u64,
) -> Result<(Vec<A>, Vec<Change<'r>>)> {
    let mut order: Vec<_> =
        requests.iter().enumerate().map(|(n, r)| (records.record_key(r.key()), n)).collect();
    // The index keeps the requests of one key in their order.
    order.sort_unstable();
    let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
    let mut changes: Vec<Change<'r>> = Vec::with_capacity(requests.len());
    let sought: Vec<_> = order.iter().map(|(name, n)| (*name, Some(requests[*n].token()))).collect();
    let found = records.lookup_all(&sought, now)?;
    for ((name, n), found) in order.into_iter().zip(found) {
        let request = &requests[n];
        if let Some(before) = changes.last_mut().filter(|change| change.name == name) {
            let (answer, change) = step(Some(&before.row), request, now);
            if let Some(row) = change {
                before.row = row;
            }
            answers[n] = Some(answer);
            continue;
        }
        let (answer, change) = step(found.as_ref().map(|f| &f.row), request, now);
        answers[n] = Some(answer);
        let home = found.as_ref().map(|f| f.home);
        if let Some(row) = change.or(found.filter(|f| f.moved).map(|f| f.row)) {
            changes.push(Change { name, key: request.key(), row, home });
        }
    }
    Ok((answers.into_iter().flatten().collect(), changes))
}
