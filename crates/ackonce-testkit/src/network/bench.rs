//! The properties' workbench: one client behind a proxy, one straight to the server, and helpers.

use std::{fmt, slice};

use ackonce::store::{ClaimRequest, Claimed, Lease, Repeat, Settle, Settled, Settlement, Token};
use ackonce::{Error, Result, Scope};
use tokio::time::Instant;

use super::Fixture;
use crate::conformance::bench::{Client, PATIENCE, SHORT, complete, key, request, scope, within_patience};
use crate::proxy::{Proxy, ProxyMode};

pub(super) struct Bench {
    pub(super) proxy: Proxy,
    /// Behind the proxy.
    pub(super) far: Client,
    /// Straight to the server.
    pub(super) near: Client,
    scope: Scope,
}

impl Bench {
    pub(super) async fn new(fixture: &dyn Fixture) -> Self {
        let proxy = start(fixture).await;
        let far = open(fixture, &proxy.addr().to_string()).await;
        let near = open(fixture, &fixture.server()).await;
        let bench = Self { proxy, far, near, scope: scope("") };
        bench.warm_up().await;
        bench
    }

    /// Makes one claim and settlement, so that the work done once per connection is over.
    pub(super) async fn warm_up(&self) {
        let request = self.request(&format!("to warm up {:?}", Token::random()));
        let lease = self.acquire(&request).await;
        self.settle(&lease, complete()).await;
        self.near.done(&request).await;
    }

    /// A new attempt at that message, long in every respect.
    pub(super) fn request(&self, id: &str) -> ClaimRequest {
        request(key(&self.scope, id))
    }

    /// The same with a lease to wait out.
    pub(super) fn short(&self, id: &str) -> ClaimRequest {
        ClaimRequest { lease: SHORT, ..self.request(id) }
    }

    /// Asks once, through the proxy.
    pub(super) async fn try_claim(&self, request: &ClaimRequest) -> Result<Claimed> {
        within_patience(self.far.0.claim(slice::from_ref(request))).await.map(only)
    }

    /// Settles once, through the proxy.
    pub(super) async fn try_settle(&self, lease: &Lease, action: Settle) -> Result<Settled> {
        let settlement = Settlement::new(lease, action);
        within_patience(self.far.0.settle(slice::from_ref(&settlement))).await.map(only)
    }

    /// Repeats the same claim through the proxy until it is answered, as a runner does.
    pub(super) async fn claim(&self, request: &ClaimRequest) -> Claimed {
        let mut patience = Patience::new();
        loop {
            match self.try_claim(request).await {
                Ok(answer) => return answer,
                Err(error) => patience.spend(&error).await,
            }
        }
    }

    pub(super) async fn acquire(&self, request: &ClaimRequest) -> Lease {
        crate::conformance::bench::acquired(self.claim(request).await, request)
    }

    /// Repeats the same settlement through the proxy until it is confirmed.
    pub(super) async fn settle(&self, lease: &Lease, action: Settle) {
        let mut patience = Patience::new();
        loop {
            match self.try_settle(lease, action.clone()).await {
                Ok(answer) => {
                    return assert_eq!(answer, Settled::Yes, "{action:?} by the holder of the lease");
                }
                Err(error) => patience.spend(&error).await,
            }
        }
    }

    /// Keeps back the client's requests from now on.
    pub(super) fn hold(&self) {
        self.proxy.set_requests(ProxyMode::Hold);
    }

    /// Lets the requests kept back reach the server, and waits until the server has answered them.
    pub(super) async fn let_go(&self) {
        let before = self.proxy.counts();
        assert!(before.requests.held > 0, "something was kept back: {before:?}");
        self.proxy.set_requests(ProxyMode::Pass);
        self.proxy.wait_for(|counts| counts.replies.turns > before.replies.turns).await;
    }
}

/// A proxy in front of the server.
pub(super) async fn start(fixture: &dyn Fixture) -> Proxy {
    Proxy::start(fixture.server()).await.unwrap_or_else(|e| panic!("no proxy: {e}"))
}

async fn open(fixture: &dyn Fixture, address: &str) -> Client {
    Client(fixture.open(address).await.unwrap_or_else(|e| panic!("the store cannot be opened: {e}")))
}

/// An error of the wire, after which the same call may be made again.
pub(super) fn repeatable(error: &Error) {
    assert_ne!(
        error.repeat(),
        Repeat::Never,
        "the wire broke, and the store gives up for good: {}",
        ackonce::chain(error)
    );
}

/// No answer can have come.
pub(super) fn no_answer<T: fmt::Debug>(answer: Result<T>) {
    match answer {
        Err(error) => repeatable(&error),
        Ok(answer) => panic!("the server said nothing, and the store answers {answer:?}"),
    }
}

/// No answer can have come, and the call may have been applied or be applied yet.
pub(super) fn unknown<T: fmt::Debug>(answer: Result<T>) {
    let repeat = answer.as_ref().err().map(Error::repeat);
    no_answer(answer);
    assert_eq!(repeat, Some(Repeat::Unknown), "the repeat that the error allows");
}

struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    async fn spend(&mut self, error: &Error) {
        repeatable(error);
        assert!(self.0.elapsed() < PATIENCE, "no answer in {PATIENCE:?}, but: {}", ackonce::chain(error));
        tokio::time::sleep(SHORT / 4).await;
    }
}

fn only<T>(answers: Vec<T>) -> T {
    assert_eq!(answers.len(), 1, "one answer per request");
    answers.into_iter().next().unwrap_or_else(|| panic!("one answer per request"))
}
