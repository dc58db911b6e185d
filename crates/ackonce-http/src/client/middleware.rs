//! The middleware: a key before the first attempt, the same for every further one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::Backoff;
use async_trait::async_trait;
use http::{Extensions, Method};
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use super::{AnswerKind, OperationKey};
use crate::identity::IDEMPOTENCY_KEY;

/// Gives each operation one key before its first attempt, and keeps it through all of them.
///
/// `POST` and `PATCH` get a key unless they have one: yours, from the header or from an [`OperationKey`] among the
/// request's extensions, is never replaced. The answer carries the key as an extension.
///
/// It retries by itself: connections that fail or break, time-outs, 409 with `Retry-After`, 408, 429 and 5xx, three times by
/// default, after `Retry-After` or a back-off with jitter. It does not retry a replay (it would be replayed
/// again), 422, other 4xx, and bodies that are streams. Put it outside of any other retry, so that both keep its key.
///
/// ```no_run
/// use ackonce_http::client::{AnswerKind, IdempotencyKeys, OperationKey};
///
/// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
/// let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(IdempotencyKeys::new()).build();
/// let payment = r#"{"amount":1999,"currency":"eur","customer":"cus_1","card":"tok_visa"}"#;
/// // Keep the key with the order until the outcome is known: a retry by hand, tomorrow, is the same operation.
/// let key = OperationKey::uuid_v4();
/// let pay = || client.post("http://localhost:3000/payments").with_extension(key.clone()).body(payment).send();
/// let response = match pay().await {
///     Ok(response) => response,
///     Err(_) => pay().await?,
/// };
/// println!("{:?}", AnswerKind::of(response.status(), response.headers()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct IdempotencyKeys {
    make: Arc<dyn Fn(&Request) -> OperationKey + Send + Sync>,
    methods: Vec<Method>,
    retries: u32,
    backoff: Backoff,
    longest_wait: Duration,
}

impl IdempotencyKeys {
    /// UUIDv4 keys for `POST` and `PATCH`; 3 retries, after 1 s, doubling to 30 s at most.
    #[must_use]
    pub fn new() -> Self {
        Self {
            make: Arc::new(|_| OperationKey::uuid_v4()),
            methods: vec![Method::POST, Method::PATCH],
            retries: 3,
            backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30) },
            longest_wait: Duration::from_secs(60),
        }
    }

    /// Other keys: [`OperationKey::uuid_v7`], or a digest of the request, with its caveat.
    #[must_use]
    pub fn with_keys(mut self, make: impl Fn(&Request) -> OperationKey + Send + Sync + 'static) -> Self {
        self.make = Arc::new(make);
        self
    }

    /// Other methods than `POST` and `PATCH`.
    #[must_use]
    pub fn with_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// The number of times that an operation is sent again; default 3, zero for never.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The wait before the next attempt, where the server does not say.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The longest `Retry-After` that is waited for; default 60 s. Told to wait longer, it gives the answer to you.
    #[must_use]
    pub fn with_longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// Puts the operation's key on the request; `None` for requests that need none.
    fn key(&self, request: &mut Request, extensions: &mut Extensions) -> Option<OperationKey> {
        if let Some(sent) = request.headers().get(IDEMPOTENCY_KEY) {
            return OperationKey::of_header(sent);
        }
        let key = match extensions.get::<OperationKey>() {
            Some(key) => key.clone(),
            None if self.methods.contains(request.method()) => (self.make)(request),
            None => return None,
        };
        request.headers_mut().insert(IDEMPOTENCY_KEY, key.to_header()?);
        // A retry outside of this middleware meets it again, and so does the caller's next try.
        extensions.insert(key.clone());
        Some(key)
    }

    /// The time to wait before the next attempt; `None` if there should be none.
    fn wait(&self, attempt: u32, outcome: &Result<Response>) -> Option<Duration> {
        let told = match outcome {
            Ok(response) => match AnswerKind::of(response.status(), response.headers()) {
                AnswerKind::Fresh | AnswerKind::Replayed | AnswerKind::Unprocessable => return None,
                AnswerKind::InProgress { retry_after } => Some(retry_after),
                AnswerKind::Unavailable { retry_after } => retry_after,
            },
            Err(Error::Reqwest(error)) if !error.is_builder() && !error.is_redirect() => None,
            Err(_) => return None,
        };
        let wait = told.unwrap_or_else(|| self.backoff.after(attempt));
        (attempt <= self.retries && wait <= self.longest_wait).then_some(wait)
    }
}

impl Default for IdempotencyKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IdempotencyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKeys")
            .field("methods", &self.methods)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Middleware for IdempotencyKeys {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let Some(key) = self.key(&mut request, extensions) else {
            return next.run(request, extensions).await;
        };
        let mut attempt = 1;
        // A body that is a stream cannot be sent twice.
        while let Some(copy) = request.try_clone() {
            let outcome = next.clone().run(copy, extensions).await;
            let Some(wait) = self.wait(attempt, &outcome) else { return with_key(outcome, key) };
            tracing::debug!(target: "ackonce", %key, attempt, wait_ms = wait.as_millis(), "sending the operation again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
        with_key(next.run(request, extensions).await, key)
    }
}

fn with_key(outcome: Result<Response>, key: OperationKey) -> Result<Response> {
    outcome.map(|mut response| {
        response.extensions_mut().insert(key);
        response
    })
}
