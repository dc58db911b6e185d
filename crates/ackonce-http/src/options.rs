//! How the layer behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Backoff, OnFailure, OnMismatch, Settings};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::body::Limits;
use crate::payload::Payload;
use crate::record::Cookies;

/// How the layer behaves. Start from [`Options::default`] and change what you must.
///
/// ```
/// use std::time::Duration;
/// use ackonce_http::{InFlight, Need, Options, Policy};
/// let options = Options::default()
///     .with_policy(Policy::not_5xx())
///     .with_in_flight(InFlight::Wait(Duration::from_secs(10)))
///     .with_window(Duration::from_secs(48 * 3600))
///     .with_need(Need::Optional);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which requests the layer concerns; default [`Gate::default`].
    pub gate: Gate,
    /// Which answers are kept; default [`Policy::success`].
    pub policy: Policy,
    /// What to do with a repeat while the first request is in flight; default [`InFlight::Conflict`].
    pub in_flight: InFlight,
    /// When two payloads are the same; default their bytes.
    pub payload: Payload,
    /// What a request's body may take; default 1 MiB in 30 s.
    pub body: Limits,
    /// The longest answer that is kept, in bytes of body; default 1 MiB. A longer one is passed on, and its repeat is
    /// told that it cannot be replayed.
    pub max_response: usize,
    /// Whether `Set-Cookie` is replayed; default not.
    pub cookies: Cookies,
    /// The most requests under way at once, waiting ones included; default 1024. More are answered 503.
    pub max_in_flight: usize,
    /// Lease (15 s), window (24 h from completion), run limit (15 min), drain (20 s), patience (2 s; how long a
    /// store that does not answer holds a request up), attempts, and what to do when a process vanished midway.
    /// `hold`, `on_failure`, `on_mismatch` and `concurrency` follow from the rest. Start from [`Options::settings`].
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            policy: Policy::success(),
            in_flight: InFlight::default(),
            payload: Payload::default(),
            body: Limits::default(),
            max_response: 1 << 20,
            cookies: Cookies::default(),
            max_in_flight: 1024,
            settings: Self::settings(),
        }
    }
}

macro_rules! with {
    ($($name:ident $field:ident $t:ty;)*) => {$(
        #[doc = concat!("The same with another [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $name(mut self, $field: $t) -> Self {
            self.$field = $field;
            self
        }
    )*};
}

impl Options {
    with! {
        with_gate gate Gate;
        with_policy policy Policy;
        with_in_flight in_flight InFlight;
        with_payload payload Payload;
        with_body body Limits;
        with_max_response max_response usize;
        with_cookies cookies Cookies;
        with_max_in_flight max_in_flight usize;
        with_settings settings Settings;
    }

    /// The same with another need on the methods of the default gate, `POST` and `PATCH`.
    #[must_use]
    pub fn with_need(self, need: Need) -> Self {
        self.with_gate(Gate::posts_and_patches(need))
    }

    /// The same with another window: how long an answer is remembered, from its completion; default 24 hours.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.settings.window = window;
        self
    }

    /// The default settings of the layer, which are not those of a consumer: a caller waits.
    #[must_use]
    pub fn settings() -> Settings {
        Settings::default()
            .with_window(Duration::from_secs(24 * 3600))
            .with_patience(Duration::from_secs(2))
            .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_secs(1) })
    }

    pub(crate) fn runner_settings(&self) -> Settings {
        let hold = match self.in_flight {
            InFlight::Conflict => Duration::ZERO,
            InFlight::Wait(longest) => longest,
        };
        self.settings
            .clone()
            .with_hold(hold)
            .with_on_failure(OnFailure::HandBack)
            .with_on_mismatch(OnMismatch::HandBack)
            .with_concurrency(self.max_in_flight)
            // The layer keeps the limit itself, so that a marked operation is recorded when it is over.
            .with_run_limit(Duration::MAX)
    }
}

/// Whether a request needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without one it is answered 400 `missing_idempotency_key`.
    Required,
    /// With one it is guarded, without one it passes.
    Optional,
    /// It passes, whatever its headers.
    Untouched,
}

/// Which requests the layer concerns.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn(&Parts) -> Need + Send + Sync>);

impl Gate {
    /// `POST` and `PATCH` have this need; everything else is untouched, for it is idempotent by itself or does
    /// nothing.
    #[must_use]
    pub fn posts_and_patches(need: Need) -> Self {
        Self::by(move |parts| match parts.method {
            Method::POST | Method::PATCH => need,
            _ => Need::Untouched,
        })
    }

    /// By any part of a request's head: its method, its path, an extension.
    ///
    /// ```
    /// use ackonce_http::{Gate, Need};
    /// use http::Method;
    /// let gate = Gate::by(|parts| match (&parts.method, parts.uri.path()) {
    ///     (&Method::POST, "/payments") => Need::Required,
    ///     (&Method::POST | &Method::PUT, _) => Need::Optional,
    ///     _ => Need::Untouched,
    /// });
    /// ```
    #[must_use]
    pub fn by(need: impl Fn(&Parts) -> Need + Send + Sync + 'static) -> Self {
        Self(Arc::new(need))
    }

    pub(crate) fn need(&self, parts: &Parts) -> Need {
        (self.0)(parts)
    }
}

impl Default for Gate {
    /// Required for `POST` and `PATCH`.
    fn default() -> Self {
        Self::posts_and_patches(Need::Required)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// What to do with a repeat while the first request is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InFlight {
    /// Answer 409 `request_in_progress` with `Retry-After` at once. The default.
    #[default]
    Conflict,
    /// Wait this long at most, and replay; then as [`Conflict`](Self::Conflict).
    Wait(Duration),
}

/// Which answers are kept and replayed. What is not kept releases the key: a repeat runs again.
///
/// Nobody agrees: keeping successes only lets a client mend a 4xx under the same key, keeping everything is what
/// Stripe does, for a 500 may have had its effect. Informational answers are never kept.
#[derive(Clone)]
pub struct Policy {
    name: &'static str,
    keeps: Arc<Keeps>,
}

type Keeps = dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync;

impl Policy {
    /// 2xx.
    #[must_use]
    pub fn success() -> Self {
        Self { name: "success", keeps: Arc::new(|status, _| status.is_success()) }
    }

    /// Everything but 5xx.
    #[must_use]
    pub fn not_5xx() -> Self {
        Self { name: "not-5xx", keeps: Arc::new(|status, _| !status.is_server_error()) }
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { name: "all", keeps: Arc::new(|_, _| true) }
    }

    /// By the answer's status and headers: "all but 429 and what says `Cache-Control: no-store`", say.
    #[must_use]
    pub fn by(keeps: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self { name: "custom", keeps: Arc::new(keeps) }
    }

    pub(crate) fn keeps(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        !status.is_informational() && (self.keeps)(status, headers)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({})", self.name)
    }
}
