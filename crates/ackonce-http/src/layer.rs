//! The layer: one runner, for all services it is put around.

use std::fmt;
use std::sync::Arc;

use ackonce::adapter::{Guarantee, RecordOnly};
use ackonce::{Counts, Deduplicator, Error, ErrorKind, Key, Result, Runner, Scope};
use http::Method;
use tower_layer::Layer;

use crate::body::Budget;
use crate::edge::Edge;
use crate::options::Options;
use crate::principal::{Bucket, Principal, digest};
use crate::run::{Calls, Exchange};
use crate::service::Idempotency;

/// The longest target that is written out in a record's ID; of a longer one it has the digest.
const MAX_TARGET_LEN: usize = 512;

/// Answers a repeated request as the first one was answered, without running it again.
///
/// Requests and answers are those of `http` 1. The inner service takes any body that can be made of [`Bytes`](bytes::Bytes),
/// as axum's can: the layer reads the request's body to know it again.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{MemoryStore, Scope};
/// use ackonce_http::{IdempotencyLayer, Principal};
/// use axum::{Router, routing::post};
///
/// /// The authentication layer, outside of this one, puts it among the request's extensions.
/// #[derive(Clone)]
/// struct Account(String);
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let principal = Principal::subject(|account: &Account| account.0.clone());
/// let idempotency =
///     IdempotencyLayer::new(Arc::new(MemoryStore::new()), &Scope::new("payments-api")?, principal)?;
/// let app: Router = Router::new().route("/payments", post(async || "paid")).layer(idempotency.clone());
/// // serve(app).await; then
/// assert_eq!(idempotency.drain().await, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// One layer in front of several services (behind two hosts, or in two nested routers) needs a [`Target`](crate::Target) that
/// tells them apart, or they share keys.
#[derive(Clone)]
pub struct IdempotencyLayer {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) edge: Edge<Exchange, Calls>,
    pub(crate) options: Options,
    pub(crate) budget: Budget,
    principal: Principal,
    scope: Scope,
}

impl IdempotencyLayer {
    /// A layer with default [`Options`].
    ///
    /// # Errors
    /// As [`with`](Self::with).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(store: Arc<dyn Deduplicator>, scope: &Scope, principal: Principal) -> Result<Self> {
        Self::with(store, scope, principal, Options::default())
    }

    /// A layer with everything chosen. The promise on this store is logged, with a line for each weakness.
    ///
    /// # Errors
    /// [`Config`](ackonce::ErrorKind::Config) for settings that cannot work,
    /// [`Unavailable`](ackonce::ErrorKind::Unavailable) if the heartbeat's thread cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn with(
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
        let scope = scope.with_max_id_len(MAX_TARGET_LEN + 1024);
        let budget = Budget::new(options.body_budget);
        let runner = Runner::with(store, &scope, Calls, options.runner_settings(), Arc::new(RecordOnly))?;
        runner.announce();
        let edge = Edge::new(runner, options.max_in_flight);
        Ok(Self { shared: Arc::new(Shared { edge, options, budget, principal, scope }) })
    }

    /// Ends it in good order, once the server has stopped accepting: running requests get
    /// [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout) to finish and be recorded, whether or not its client waits.
    /// Returns how many runs are left, which is none unless they block their thread.
    pub async fn drain(&self) -> usize {
        self.shared.edge.drain().await
    }

    /// The decisions so far: runs, replays, conflicts, mismatches, and answers that could not be recorded.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.edge.runner().counts()
    }

    /// The promise on this store.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        self.shared.edge.runner().announce()
    }

    /// The key that a request is filed under: to look it up, forget it or redrive it with [`Inspect`](ackonce::store::Inspect).
    /// A principal of `None` is the caller of [`Principal::single_tenant`]. The target is the path, unless
    /// [`Options::target`] says otherwise.
    ///
    /// # Errors
    /// [`KeyError`](ackonce::KeyError): it is longer than any request's.
    pub fn key(
        &self,
        principal: Option<&[u8]>,
        method: &Method,
        target: &str,
        key: &[u8],
    ) -> std::result::Result<Key, ackonce::KeyError> {
        let bucket = principal.map_or(Bucket::Single, Bucket::named);
        self.shared.key(&bucket, method, target, key)
    }
}

impl Shared {
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// `POST /payments BUCKET KEY`: readable, and unambiguous, for only the key may have a space in it.
    pub(crate) fn key(
        &self,
        bucket: &Bucket,
        method: &Method,
        target: &str,
        key: &[u8],
    ) -> std::result::Result<Key, ackonce::KeyError> {
        const DIGEST: &str = "sha256:";
        let mut id = Vec::with_capacity(
            method.as_str().len() + target.len() + bucket.as_bytes().len() + key.len() + 3,
        );
        id.extend_from_slice(method.as_str().as_bytes());
        id.push(b' ');
        let is_plain = target.len() <= MAX_TARGET_LEN
            && !target.starts_with(DIGEST)
            && !target.bytes().any(|b| b == b' ' || b.is_ascii_control());
        if is_plain {
            id.extend_from_slice(target.as_bytes());
        } else {
            id.extend_from_slice(DIGEST.as_bytes());
            id.extend_from_slice(&digest(target.as_bytes()));
        }
        id.push(b' ');
        id.extend_from_slice(bucket.as_bytes());
        id.push(b' ');
        id.extend_from_slice(key);
        self.scope.key(id)
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        Idempotency::new(inner, self.shared.clone())
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { edge, options, principal, .. } = &*self.shared;
        f.debug_struct("IdempotencyLayer")
            .field("edge", edge)
            .field("options", options)
            .field("principal", principal)
            .finish()
    }
}
