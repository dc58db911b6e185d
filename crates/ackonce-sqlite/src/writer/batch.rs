//! Claims and settlements: each batch is one command.

use ackonce::protocol::Row;
use ackonce::store::{ClaimRequest, Claimed, Settled, Settlement, Token};
use ackonce::{Error, Key, Result};
use tokio::sync::oneshot;

use super::command::{Command, CommandContext, GroupOutcome};
use crate::error;
use crate::records::Records;
use crate::records::key::RecordKey;
use crate::records::lookup::Location;
use crate::records::write::names_of;

/// The decision about one key of a batch: the answer, and the row to write if it changed.
type Decide<R, A> = fn(Option<&Row>, &R, u64) -> (A, Option<Row>);

/// A request about one key by one attempt.
pub(crate) trait Request {
    fn key(&self) -> &Key;
    fn token(&self) -> Token;
    type Answer;
    /// The answer where the record cannot be read, for this reason.
    fn unreadable(&self, reason: Error) -> Result<Self::Answer>;
}

impl Request for ClaimRequest {
    type Answer = Claimed;
    fn unreadable(&self, reason: Error) -> Result<Claimed> {
        Err(reason)
    }

    fn key(&self) -> &Key {
        &self.key
    }
    fn token(&self) -> Token {
        self.token
    }
}

impl Request for Settlement {
    type Answer = Settled;
    /// Nobody has that claim any more, and the renewal of others goes on.
    fn unreadable(&self, _: Error) -> Result<Settled> {
        Ok(Settled::Lost)
    }

    fn key(&self) -> &Key {
        &self.key
    }
    fn token(&self) -> Token {
        self.token
    }
}

/// A batch of claims or of settlements.
pub(crate) struct Batch<R, A> {
    requests: Vec<R>,
    decide: Decide<R, A>,
    /// True if the batch may be dropped once its caller is gone: a claim would only hold up the next attempt, while a
    /// settlement is carried out even without a caller.
    droppable: bool,
    answers: Result<Vec<A>>,
    reply: oneshot::Sender<Result<Vec<A>>>,
}

impl<R, A> Batch<R, A> {
    pub(crate) fn new(
        requests: Vec<R>,
        decide: Decide<R, A>,
        droppable: bool,
        reply: oneshot::Sender<Result<Vec<A>>>,
    ) -> Self {
        Self { requests, decide, droppable, answers: Ok(Vec::new()), reply }
    }
}

impl<R: Request<Answer = A> + Send, A: Send> Command for Batch<R, A> {
    fn rows(&self) -> usize {
        self.requests.len()
    }

    fn run(&mut self, cx: &CommandContext<'_>) -> Result<usize> {
        if self.droppable && self.reply.is_closed() {
            return Ok(0);
        }
        let now = cx.clock.now();
        match decide(&self.requests, self.decide, cx.records, now) {
            Ok((answers, changes)) => {
                for change in &changes {
                    cx.records.write(
                        &change.record_key,
                        names_of(change.key),
                        &change.row,
                        change.location,
                        now,
                    )?;
                }
                self.answers = Ok(answers);
                Ok(changes.len())
            }
            Err(error) if error::breaks_connection(&error) => Err(error),
            // Nothing is written yet, so a claim of a damaged record fails this batch, which the core halves, and not the group.
            Err(error) => {
                self.answers = Err(error);
                Ok(0)
            }
        }
    }

    fn answer(self: Box<Self>, outcome: &GroupOutcome) {
        let _ = self.reply.send(outcome.answer(self.answers));
    }
}

/// A record to write.
struct Change<'r> {
    record_key: RecordKey,
    key: &'r Key,
    row: Row,
    location: Option<Location>,
}

/// Returns the answers in the order of the requests and the changes in the order of the record keys: a batch then
/// goes through tables and filters once, from one end to the other.
fn decide<'r, R: Request<Answer = A>, A>(
    requests: &'r [R],
    decide_one: Decide<R, A>,
    records: &Records<'_>,
    now: u64,
) -> Result<(Vec<A>, Vec<Change<'r>>)> {
    let mut order: Vec<_> =
        requests.iter().enumerate().map(|(n, r)| (records.record_key(r.key()), n)).collect();
    // The index keeps the requests of one key in their order.
    order.sort_unstable();
    let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
    let mut changes: Vec<Change<'r>> = Vec::with_capacity(requests.len());
    let keys: Vec<_> =
        order.iter().map(|(record_key, n)| (*record_key, Some(requests[*n].token()))).collect();
    let found = records.lookup_all(&keys, now)?;
    for ((record_key, n), found) in order.into_iter().zip(found) {
        let request = &requests[n];
        let found = match found.transpose() {
            Ok(found) => found,
            Err(error) => {
                let error = error::unreadable(request.key(), &record_key, error);
                answers[n] = Some(request.unreadable(error)?);
                continue;
            }
        };
        if let Some(before) = changes.last_mut().filter(|change| change.record_key == record_key) {
            let (answer, change) = decide_one(Some(&before.row), request, now);
            if let Some(row) = change {
                before.row = row;
            }
            answers[n] = Some(answer);
            continue;
        }
        let (answer, change) = decide_one(found.as_ref().map(|f| &f.row), request, now);
        answers[n] = Some(answer);
        let location = found.as_ref().map(|f| f.location);
        if let Some(row) = change.or(found.filter(|f| f.shifted).map(|f| f.row)) {
            changes.push(Change { record_key, key: request.key(), row, location });
        }
    }
    Ok((answers.into_iter().flatten().collect(), changes))
}
