//! A batch with several requests for one key is answered as if they had come one after another.

use std::collections::{HashMap, HashSet};

use ackonce::protocol::Row;
use ackonce::store::Token;
use ackonce::{Error, ErrorKind, Key, Result};

use crate::records::Stored;

/// The most requests of one statement.
const MAX_ROWS: usize = 5000;
/// The most bytes of outcomes and reasons in one statement, where a single one is not longer.
const MAX_BYTES: usize = 32 << 20;

/// The reply to one request.
pub(crate) struct Reply<A> {
    pub(crate) answer: A,
    /// The record after the request, and the time of that state; `None` if it is unknown.
    pub(crate) left: Option<(Option<Stored>, u64)>,
}

/// Maps a row, a request and the time to the answer and, if the row changes, the new row.
pub(crate) type Decide<R, A> = fn(Option<&Row>, &R, u64) -> (A, Option<Row>);

/// One kind of request.
pub(crate) struct Kind<R, A> {
    pub(crate) key: fn(&R) -> &Key,
    pub(crate) token: fn(&R) -> Token,
    /// The length in bytes of the request's outcome or reason.
    pub(crate) bytes: fn(&R) -> usize,
    /// The protocol.
    pub(crate) decide: Decide<R, A>,
}

/// A batch in flight. The first request of each key is sent in one statement; the others are answered by the
/// protocol from the record that their predecessor left, if that changes nothing, and else go in a statement of
/// their own after it.
pub(crate) struct Batch<'r, R, A> {
    requests: &'r [R],
    kind: &'r Kind<R, A>,
    answers: Vec<Option<A>>,
    /// The places of the requests in flight, and of those that wait for them.
    wave: Vec<usize>,
    rest: Vec<usize>,
}

impl<'r, R, A> Batch<'r, R, A> {
    pub(crate) fn new(requests: &'r [R], kind: &'r Kind<R, A>) -> Self {
        let answers = requests.iter().map(|_| None).collect();
        Self { requests, kind, answers, wave: Vec::new(), rest: (0..requests.len()).collect() }
    }

    /// The next requests to send, all of different keys; `None` when everything is answered.
    pub(crate) fn next(&mut self) -> Option<Vec<&'r R>> {
        (self.wave, self.rest) = first_of_each_key(self.requests, self.kind, &self.rest);
        let asked: Vec<_> = self.wave.iter().map(|&n| &self.requests[n]).collect();
        (!asked.is_empty()).then_some(asked)
    }

    /// Takes the replies to them, in order. Without one, another transaction holds the record: the answer is that of
    /// `held`, also to the later requests for it, for none of them may overtake this one.
    pub(crate) fn replied(&mut self, replies: Vec<Option<Reply<A>>>, held: impl Fn() -> A) -> Result<()> {
        if replies.len() != self.wave.len() {
            return Err(Error::new(ErrorKind::Protocol, "postgres: another number of answers than requests"));
        }
        let (mut left, mut locked) = (HashMap::new(), HashSet::new());
        for (n, reply) in self.wave.drain(..).zip(replies) {
            let digest = (self.kind.key)(&self.requests[n]).digest();
            let Some(reply) = reply else {
                self.answers[n] = Some(held());
                locked.insert(digest);
                continue;
            };
            self.answers[n] = Some(reply.answer);
            left.extend(reply.left.map(|left| (digest, left)));
        }
        for n in std::mem::take(&mut self.rest) {
            let request = &self.requests[n];
            let digest = (self.kind.key)(request).digest();
            if locked.contains(digest) {
                self.answers[n] = Some(held());
                continue;
            }
            let decided = left.get(digest).and_then(|(row, now)| {
                let row = row.as_ref().map(|row| row.under((self.kind.token)(request)));
                let (answer, change) = (self.kind.decide)(row.as_ref(), request, *now);
                (change.is_none() || change == row).then_some(answer)
            });
            match decided {
                Some(answer) => self.answers[n] = Some(answer),
                None => {
                    // The next request of this key follows this one.
                    left.remove(digest);
                    self.rest.push(n);
                }
            }
        }
        Ok(())
    }

    /// One answer per request, in order.
    pub(crate) fn answers(self) -> Vec<A> {
        self.answers.into_iter().flatten().collect()
    }
}

fn first_of_each_key<R, A>(requests: &[R], kind: &Kind<R, A>, open: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (mut wave, mut rest) = (Vec::with_capacity(open.len()), Vec::new());
    let mut keys = HashSet::with_capacity(open.len());
    let mut bytes = 0;
    for (place, &n) in open.iter().enumerate() {
        bytes += (kind.bytes)(&requests[n]);
        if wave.len() == MAX_ROWS || (bytes > MAX_BYTES && !wave.is_empty()) {
            rest.extend_from_slice(&open[place..]);
            break;
        }
        match keys.insert((kind.key)(&requests[n]).digest()) {
            true => wave.push(n),
            false => rest.push(n),
        }
    }
    (wave, rest)
}
