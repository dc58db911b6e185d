//! A trip that failed because of one of its requests, split until that request is alone.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::dropping::{drop_in, poll_in};
use crate::error::{Error, ErrorKind, Repeat, Result};

/// A trip that takes longer is given up, its outcome unknown: a store that never answers would keep it, and all that
/// wait for a place, for ever. Stores have time-outs of their own, which are shorter.
pub(super) const TRIP_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn with_timeout<A>(trip: impl Future<Output = Result<A>>) -> Result<A> {
    let mut trip = pin!(Some(caught(trip)));
    let answer = tokio::time::timeout(TRIP_TIMEOUT, poll_in(trip.as_mut())).await;
    drop_in(trip, "a store's call");
    answer.unwrap_or_else(|_| Err(no_answer()))
}

/// A store that panics has an unknown outcome, as one that does not answer: it must not end the consumer.
pub(super) async fn caught<A>(trip: impl Future<Output = Result<A>>) -> Result<A> {
    let panicked = |_| {
        Err(Error::new(
            ErrorKind::Unavailable,
            "the store panicked (the panic's message went to standard error)",
        ))
    };
    AssertUnwindSafe(trip).catch_unwind().await.unwrap_or_else(panicked)
}

pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "the store did not answer within a minute")
}

/// After a trip of `len` requests that failed with `error`: one request that cannot be carried out (an outcome over
/// the store's limit, a record that another transaction holds) must not end its neighbours, so the trip is halved until
/// that request is alone.
///
/// Requests carry their tokens, so that those which did go through may be sent again. The order of requests for one
/// record is kept: one that comes after a locked one is not sent, for the lock may have ended meanwhile, and it
/// has that one's error. `digest` is that of a request's key.
///
/// # Errors
/// Any error that says nothing about a single request; `error` itself if it is one.
pub(crate) async fn bisect<A, Fut>(
    len: usize,
    error: Error,
    digest: impl Fn(usize) -> [u8; 32],
    trip: impl Fn(Range<usize>) -> Fut,
) -> Result<Vec<Result<A>>>
where
    Fut: Future<Output = Result<Vec<A>>>,
{
    if !is_of_one_request(&error) {
        return Err(error);
    }
    if len == 1 {
        return Ok(vec![Err(error)]);
    }
    let mut answers = Vec::with_capacity(len);
    let mut locked = HashMap::new();
    // The next part is the last one.
    let mut parts = vec![len / 2..len, 0..len / 2];
    while let Some(part) = parts.pop() {
        let middle = part.start + part.len() / 2;
        let before = match locked.is_empty() {
            true => None,
            false => part.clone().find_map(|n| locked.get(&digest(n)).cloned()),
        };
        let answered = match before {
            Some(error) => Err(error),
            None => check_count(trip(part.clone()).await, part.len()),
        };
        match answered {
            Ok(all) => answers.extend(all.into_iter().map(Ok)),
            Err(error) if !is_of_one_request(&error) => return Err(error),
            Err(error) if part.len() == 1 => {
                if error.kind() == ErrorKind::Locked {
                    locked.insert(digest(part.start), error.clone());
                }
                answers.push(Err(error));
            }
            Err(_) => parts.extend([middle..part.end, part.start..middle]),
        }
    }
    Ok(answers)
}

pub(super) fn is_of_one_request(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Invalid => error.repeat() == Repeat::Never,
        ErrorKind::Locked => true,
        _ => false,
    }
}

pub(super) fn check_count<A>(answers: Result<Vec<A>>, expected: usize) -> Result<Vec<A>> {
    let answers = answers?;
    if answers.len() == expected {
        return Ok(answers);
    }
    Err(Error::new(ErrorKind::Protocol, "the store gave another number of answers than requests"))
}
