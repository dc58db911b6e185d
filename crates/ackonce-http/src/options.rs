//! Options of the layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Backoff, OnFailure, OnMismatch, Settings};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::body::Limits;
use crate::identity::{Payload, Target};
use crate::response::{Cookies, Headers};

/// Options of the layer. Start from [`Options::default`] and change only the fields you have to.
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
    /// The answer to a repeat while the first request is in flight; default [`InFlight::Conflict`].
    pub in_flight: InFlight,
    /// Which target a request is for; default [`Target::path`].
    pub target: Target,
    /// When two payloads are the same; default [`Payload::Canonical`].
    pub payload: Payload,
    /// The limits on a request's body; default 1 MiB in 30 s.
    pub body: Limits,
    /// The most bytes that the bodies of all requests may take at once, from their arrival to the end of their run;
    /// default 64 MiB, and not under [`Limits::max_len`]. A body that finds no room is answered 503 `overloaded`.
    pub body_budget: usize,
    /// The longest answer that is kept, in bytes of body; default 1 MiB. A longer one is passed on, and its repeat is
    /// told that it cannot be replayed.
    pub max_response: usize,
    /// The treatment of an answer of unknown length that is not complete at once; default [`Streams::PassOn`].
    pub streams: Streams,
    /// The treatment of `Set-Cookie`; default not replayed.
    pub cookies: Cookies,
    /// Which other headers are replayed; default [`Headers::lasting`], all but request IDs, traces, timings and rate limits.
    pub headers: Headers,
    /// The most requests under way at once, waiting ones included; default 1024. More are answered 503.
    pub max_in_flight: usize,
    /// Lease (15 s), window (24 h from completion), run limit (15 min), drain (20 s), patience (2 s; how long a
    /// store that does not answer holds a request up), attempts, and the treatment of a process that vanished midway.
    /// `busy_timeout`, `on_failure`, `on_mismatch` and `concurrency` follow from the rest. Start from [`Options::settings`].
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            policy: Policy::success(),
            in_flight: InFlight::default(),
            target: Target::default(),
            payload: Payload::default(),
            body: Limits::default(),
            body_budget: 64 << 20,
            max_response: 1 << 20,
            streams: Streams::default(),
            cookies: Cookies::default(),
            headers: Headers::default(),
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
        with_target target Target;
        with_payload payload Payload;
        with_body body Limits;
        with_body_budget body_budget usize;
        with_max_response max_response usize;
        with_streams streams Streams;
        with_cookies cookies Cookies;
        with_headers headers Headers;
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
            .with_store_timeout(Duration::from_secs(2))
            .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_secs(1) })
    }

    pub(crate) fn runner_settings(&self) -> Settings {
        let hold = match self.in_flight {
            InFlight::Conflict => Duration::ZERO,
            InFlight::Wait(longest) => longest,
        };
        self.settings
            .clone()
            .with_busy_timeout(hold)
            .with_on_failure(OnFailure::HandBack)
            .with_on_mismatch(OnMismatch::HandBack)
            .with_concurrency(self.max_in_flight)
            // The layer keeps the limit itself, so that a marked operation is recorded when it is over.
            .with_handler_timeout(Duration::MAX)
    }
}

/// The rule for requests without a key.
///
/// Require a key where a second run costs money and all clients are yours; make it optional where some clients know nothing of
/// keys, whose repeats then run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without one it is answered 400 `missing_idempotency_key`.
    Required,
    /// With one it is guarded, without one it passes, within the same limits on its body.
    Optional,
    /// It passes, with any headers.
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

/// The answer to a repeat while the first request is in flight.
///
/// Waiting spares clients that know no `Retry-After` an error, and holds a connection and a place of
/// [`Options::max_in_flight`] for each repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InFlight {
    /// Answer 409 `request_in_progress` with `Retry-After` at once. The default.
    #[default]
    Conflict,
    /// Wait this long, and replay as soon as there is an answer; without one then as [`Conflict`](Self::Conflict).
    Wait(Duration),
}

/// The treatment of an answer of unknown length that is not complete at once: a proxied one that comes in chunks, or one that is made while it is sent. A complete one is kept either way, and
/// server-sent events are passed on either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Streams {
    /// Pass it on chunk by chunk. It cannot be replayed: a repeat is 410 `response_not_kept`. The default.
    #[default]
    PassOn,
    /// Hold it back until all of it is there, and keep it. If that takes longer than this, or the answer is longer than
    /// [`Options::max_response`], it is passed on from its first byte as with [`PassOn`](Self::PassOn).
    Collect(Duration),
}

/// Which answers are kept and replayed. An answer that is not kept frees the key: the next request with it runs, be it the
/// same or a mended one. Only where an earlier run ended without an answer (a panic, a killed process) must it be the
/// same, because that one may have had its effect.
///
/// Nobody agrees: keeping successes only lets a client mend a 4xx under the same key, and Stripe keeps everything, for a
/// 500 may have had its effect. Informational answers are never kept.
///
/// ```
/// use ackonce_http::{Options, Policy};
/// use http::StatusCode;
/// // A declined card is final, too: the client gets the same 402 again, and needs a new key to try another card.
/// let policy = Policy::by(|status, _| status.is_success() || status == StatusCode::PAYMENT_REQUIRED);
/// let options = Options::default().with_policy(policy);
/// ```
#[derive(Clone)]
pub struct Policy {
    name: &'static str,
    keeps: Arc<Keeps>,
}

type Keeps = dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync;

impl Policy {
    /// 2xx, and the redirects by which a form says that it was taken: 302 Found and 303 See Other, after which browsers ask
    /// for the result with `GET` ([RFC 9110, 15.4.3](https://www.rfc-editor.org/rfc/rfc9110#section-15.4.3)).
    ///
    /// Frameworks answer a form with either, and a repeat that ran again would take it twice. A 302 that only sends the
    /// client to log in is kept, too: put authentication outside of the layer, or the client needs a new key. Not 301,
    /// 307 and 308, which send the same request elsewhere: nothing has happened here.
    #[must_use]
    pub fn success() -> Self {
        let keeps = |status: StatusCode, _: &HeaderMap| {
            status.is_success() || matches!(status, StatusCode::FOUND | StatusCode::SEE_OTHER)
        };
        Self { name: "success", keeps: Arc::new(keeps) }
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

    /// By the answer's status and headers: "all but 429 and `Cache-Control: no-store`", say.
    #[must_use]
    pub fn by(keeps: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self { name: "custom", keeps: Arc::new(keeps) }
    }

    /// True if it keeps such an answer: for a policy of your own [made of](Self::by) this one.
    #[must_use]
    pub fn keeps(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        !status.is_informational() && (self.keeps)(status, headers)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({})", self.name)
    }
}
