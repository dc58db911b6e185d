//! The layer: one runner, for all services it is put around.

use std::fmt;
use std::sync::Arc;

use ackonce::adapter::Guarantee;
use ackonce::{Counts, Deduplicator, Key, KeyError, Result, Scope};
use http::Method;
use tower_layer::Layer;

use crate::endpoint::Endpoint;
use crate::identity::{Bucket, Principal};
use crate::options::Options;
use crate::service::Idempotency;

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
/// tells them apart, or they share keys. With the feature `axum`, nested routers are told apart by default.
#[derive(Clone)]
pub struct IdempotencyLayer {
    endpoint: Arc<Endpoint>,
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
        Ok(Self { endpoint: Arc::new(Endpoint::new(store, scope, principal, options)?) })
    }

    /// Ends it in good order, once the server has stopped accepting: running requests get
    /// [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout) to finish and be recorded, whether or not its client waits.
    /// Returns how many runs are left, which is none unless they block their thread.
    pub async fn drain(&self) -> usize {
        self.endpoint.edge.drain().await
    }

    /// The decisions so far: runs, replays, conflicts, mismatches, and answers that could not be recorded.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.endpoint.edge.runner().counts()
    }

    /// The promise on this store.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        self.endpoint.edge.runner().announce()
    }

    /// The key of a request's record: to look it up, forget it or redrive it with [`Inspect`](ackonce::store::Inspect).
    /// A principal of `None` is the caller of [`Principal::single_tenant`]. The target is the path, unless
    /// [`Options::target`] says otherwise.
    ///
    /// # Errors
    /// [`KeyError`]: it is longer than any request's.
    pub fn key(
        &self,
        principal: Option<&[u8]>,
        method: &Method,
        target: &str,
        key: &[u8],
    ) -> std::result::Result<Key, KeyError> {
        let bucket = principal.map_or(Bucket::Single, Bucket::named);
        self.endpoint.key(&bucket, method, target, key)
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        Idempotency::new(inner, self.endpoint.clone())
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { edge, options, principal, .. } = &*self.endpoint;
        f.debug_struct("IdempotencyLayer")
            .field("edge", edge)
            .field("options", options)
            .field("principal", principal)
            .finish()
    }
}
