//! The way of a request from its key to its answer.

mod delivery;
mod metrics;
mod problems;
mod request;
mod run;

use std::sync::Arc;

use ackonce::adapter::{Receipt, RecordOnly};
use ackonce::store::State;
use ackonce::{Deduplicator, Error, ErrorKind, Key, KeyError, Result, Runner, Scope};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use self::delivery::Calls;
pub(crate) use self::delivery::Exchange;
pub use self::metrics::METRICS;
pub(crate) use self::request::GuardedRequest;
pub(crate) use self::run::{Call, Ended, Start};
use crate::body::Budget;
use crate::edge::{Edge, EdgeError};
use crate::identity::{Bucket, IdempotencyKey, InvalidKey, MAX_ID_LEN, Principal, record_key};
use crate::options::Options;
use crate::problem::Problem;
use crate::response::{REPLAYED, ResponseBody, StoredResponse};

/// State shared by all services of a layer.
pub(crate) struct Endpoint {
    pub(crate) edge: Edge<Exchange, Calls>,
    pub(crate) options: Options,
    pub(crate) budget: Budget,
    pub(crate) principal: Principal,
    scope: Scope,
}

impl Endpoint {
    /// An endpoint whose runner is ready; the promise on this store is logged.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for settings that cannot work, and the errors of [`Runner::with`].
    pub(crate) fn new(
        store: Arc<dyn Deduplicator>,
        scope: &Scope,
        principal: Principal,
        options: Options,
    ) -> Result<Self> {
        if options.body.max_len > options.body_budget {
            let text = format!(
                "Options::body_budget is {}; one body may take {} (Options::body, Limits::max_len), so it has to be as much at least",
                options.body_budget, options.body.max_len
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        let scope = scope.with_max_id_len(MAX_ID_LEN);
        let budget = Budget::new(options.body_budget);
        let runner = Runner::with(store, &scope, Calls, options.runner_settings(), Arc::new(RecordOnly))?;
        runner.announce();
        let edge = Edge::new(runner, options.max_in_flight);
        Ok(Self { edge, options, budget, principal, scope })
    }

    /// The key of a record.
    ///
    /// # Errors
    /// [`KeyError`]: it is longer than any request's.
    pub(crate) fn key(
        &self,
        bucket: &Bucket,
        method: &Method,
        target: &str,
        key: &[u8],
    ) -> std::result::Result<Key, KeyError> {
        record_key(&self.scope, bucket, method, target, key)
    }

    /// The key of this request's record, or the reason that it may not have one.
    pub(crate) fn key_of(&self, head: &Parts, key: &IdempotencyKey) -> std::result::Result<Key, Problem> {
        let bucket = self.principal.bucket(head)?;
        // Only a method of hundreds of bytes could be refused here.
        self.key(&bucket, &head.method, &self.options.target.of(head), key.as_bytes())
            .map_err(|_| InvalidKey::Malformed.problem())
    }

    /// The answer of a run, or of the record.
    pub(crate) fn answer<B, E>(
        &self,
        ended: Option<Ended<B, E>>,
        settled: std::result::Result<Receipt<Exchange>, EdgeError<Exchange>>,
    ) -> std::result::Result<Response<ResponseBody<B>>, E> {
        // Every repeat is answered with the record, so it comes before the answer of a run that lost its claim.
        if let Ok(receipt) = &settled
            && receipt.record().is_some()
        {
            return Ok(self.replay(receipt));
        }
        match (ended, settled) {
            (Some(Ended::Answered(response)), _) => Ok(response),
            (Some(Ended::Failed(error)), _) => Err(error),
            // Settled without an answer, it is recorded as unknown.
            (Some(Ended::Broke), settled) => Ok(self.refuse(problems::broke(settled.is_err()))),
            (Some(Ended::Cancelled), settled) => Ok(self.refuse(problems::cancelled(settled.is_err()))),
            (None, Ok(_)) => Ok(self.refuse(problems::outcome_unknown())),
            (None, Err(refused)) => Ok(self.refuse(problems::unsettled(&refused))),
        }
    }

    fn replay<B>(&self, receipt: &Receipt<Exchange>) -> Response<ResponseBody<B>> {
        let record = receipt.record();
        let outcome = record.filter(|r| r.state == State::Done).and_then(|r| r.outcome.as_ref());
        let Some(outcome) = outcome else { return self.refuse(problems::outcome_unknown()) };
        let stored = match StoredResponse::decode(outcome) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(target: "ackonce", scope = self.scope.name(), %error, key = ?receipt.how(), "a recorded answer cannot be replayed");
                return self.refuse(problems::unreadable(error));
            }
        };
        let status = stored.status;
        match stored.into_response() {
            Ok(mut response) => {
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                response
            }
            Err(why) => self.refuse(problems::not_kept(status, why)),
        }
    }

    /// A problem document as the answer, counted.
    pub(crate) fn refuse<B>(&self, problem: Problem) -> Response<ResponseBody<B>> {
        metrics::refused(self.scope.name(), problem.error());
        problem.into_response()
    }
}
