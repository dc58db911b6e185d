//! A sabotaged store that is away, whose reply is lost, and that is asked for the impossible.

use std::sync::Arc;

use ackonce::store::{ClaimRequest, Claimed, Record, Repeat, Settle, Settled, State};
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use ackonce_testkit::conformance::{Breakable, CannotFail, Outage};
use async_trait::async_trait;

use crate::bug::Bug;
use crate::store::Client;

const MOST: usize = 1 << 20;

pub(crate) fn too_large() -> Settle {
    Settle::Complete { window: std::time::Duration::ZERO, outcome: Some(vec![0; MOST + 1].into()) }
}

pub(crate) fn is_too_large(action: &Settle) -> bool {
    matches!(action, Settle::Complete { outcome: Some(outcome), .. } if outcome.len() > MOST)
}

pub(crate) struct Broken(pub(crate) Arc<Client>);

#[async_trait]
impl Breakable for Broken {
    fn client(&self) -> Arc<dyn Deduplicator> {
        self.0.clone()
    }

    async fn fail(&self, failure: Outage) -> std::result::Result<(), CannotFail> {
        *self.0.failure.lock().unwrap() = Some(failure);
        Ok(())
    }

    async fn heal(&self) {
        *self.0.failure.lock().unwrap() = None;
    }
}

impl Client {
    fn fails(&self, failure: Outage) -> bool {
        *self.failure.lock().unwrap() == Some(failure)
    }

    fn error(&self, kind: ErrorKind) -> Error {
        let error = Error::new(kind, "a failure of the suite");
        match self.bug {
            Bug::EverythingIsSafe => error.with_repeat(Repeat::Safe),
            Bug::OutageIsFinal => error.with_repeat(Repeat::Never),
            _ => error,
        }
    }

    /// The answer before anything is done, if the store is away.
    pub(crate) fn away<T>(&self, guesses: impl FnOnce() -> Vec<T>) -> Option<Result<Vec<T>>> {
        let guessing = matches!(self.bug, Bug::OutageIsDone | Bug::OutageIsLost);
        self.fails(Outage::Away).then(|| match guessing {
            true => Ok(guesses()),
            false => Err(self.error(ErrorKind::Unavailable)),
        })
    }

    pub(crate) fn guess(&self, request: &ClaimRequest) -> Claimed {
        let record = Record {
            state: State::Done,
            fence: 1,
            attempt: 1,
            fingerprint: request.fingerprint,
            outcome: None,
            progress: None,
            reason: None,
            age: std::time::Duration::ZERO,
        };
        match self.bug {
            Bug::OutageIsLost => Claimed::Busy { free_in: request.lease },
            _ => Claimed::Done(record),
        }
    }

    /// The answers, if they are not lost.
    pub(crate) fn reply<T>(&self, answers: Vec<T>) -> Result<Vec<T>> {
        if self.fails(Outage::ReplyLost) { Err(self.error(ErrorKind::Timeout)) } else { Ok(answers) }
    }

    pub(crate) fn refused(&self, settlements: usize) -> Result<Vec<Settled>> {
        match self.bug {
            Bug::ImpossibleIsRetried => Err(self.error(ErrorKind::Unavailable)),
            Bug::ImpossibleIsConfirmed => Ok(vec![Settled::Yes; settlements]),
            _ => Err(self.error(ErrorKind::Invalid)),
        }
    }
}
