//! A provider: from a request's bytes to the events in it, without a server.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::error::{ConfigError, VerifyError};
use crate::event::Event;
use crate::request::RawRequest;

/// A sender of webhooks: its signatures, its event IDs, and the length of time that an event may come again.
///
/// Implement it for a provider that is not here and that [`Custom`](crate::Custom) cannot describe.
///
/// ```
/// use ackonce_webhook::{Event, Provider, RawRequest, StandardWebhooks, Terms, Verified, VerifyError};
///
/// /// Signs as Standard Webhooks says, and counts its IDs in each region.
/// #[derive(Debug)]
/// struct Courier(StandardWebhooks);
///
/// impl Provider for Courier {
///     fn name(&self) -> &str {
///         "courier"
///     }
///
///     fn terms(&self) -> Terms {
///         self.0.terms()
///     }
///
///     fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
///         let in_region = |event: Event| match event.json::<serde_json::Value>() {
///             Ok(json) => event.within(json["region"].to_string()),
///             Err(_) => event,
///         };
///         Ok(match self.0.verify(request)? {
///             Verified::Events(events) => Verified::Events(events.into_iter().map(in_region).collect()),
///             handshake => handshake,
///         })
///     }
/// }
/// ```
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The word used in logs and metrics, and a part of the key of every record
    /// ([`record_scope`](crate::record_scope)): with another name, events that were seen are new.
    fn name(&self) -> &str;

    /// The provider's terms, as far as settings depend on them.
    fn terms(&self) -> Terms;

    /// Checks the configuration; called once, when an endpoint is built.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that would refuse every request.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Verifies the request on its raw bytes, then says which events it brings. Pure: no clock, no I/O.
    ///
    /// # Errors
    /// [`VerifyError`]: the request is forged, old, or not to be understood.
    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError>;
}

/// The events of a verified request.
#[derive(Debug)]
pub enum Verified {
    /// Events, each to take effect once.
    Events(Vec<Event>),
    /// A question about the endpoint itself, with its answer; nothing is recorded.
    Handshake(Response<Bytes>),
}

/// A provider's terms, as far as settings depend on them.
///
/// Where a setting is left at its default, it follows from these; one that contradicts them is refused when the endpoint is
/// built.
///
/// ```
/// use std::time::Duration;
/// use ackonce_webhook::Terms;
/// // Comes again for two days and waits for 20 seconds; its signatures are five minutes old at most.
/// let terms = Terms::new(Duration::from_secs(2 * 86_400), Duration::from_secs(20))
///     .with_tolerance(Some(Duration::from_secs(300)));
/// assert_eq!(terms.max_body, 1 << 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// True if the provider sends a failed event again by itself; default true. Of one that does not, an event that comes
    /// while its endpoint is away waits for somebody who asks the provider for it.
    pub retries_alone: bool,
    /// The time after the first delivery within which the same event may come again, manual redelivery included where it is
    /// limited. The window must not be shorter.
    pub retries: Duration,
    /// The tolerance for a signature's timestamp, in both directions; `None` where there is no timestamp. The
    /// window must be at least twice that.
    pub tolerance: Option<Duration>,
    /// The provider's own time limit for an answer.
    pub answer_within: Duration,
    /// The body of a 2xx, where the provider looks at it.
    pub accepted: Option<&'static str>,
    /// The most bytes of a body that the provider sends; default 1 MiB. A longer one is answered 413, and a provider
    /// that does not come again has lost it.
    pub max_body: usize,
    /// The most bytes of an answer's body that are kept and given to a repeat, where the answer is the effect that the provider
    /// wants (TwiML, the reply to a command); default 0, for those who look at the status alone.
    pub kept_answer: usize,
}

impl Terms {
    /// Terms without a timestamp and with no wish for a body.
    #[must_use]
    pub fn new(retries: Duration, answer_within: Duration) -> Self {
        Self {
            retries_alone: true,
            retries,
            tolerance: None,
            answer_within,
            accepted: None,
            max_body: MIB,
            kept_answer: 0,
        }
    }

    /// The same for a provider that sends a failed event again only when somebody asks for it.
    #[must_use]
    pub fn on_request_only(mut self) -> Self {
        self.retries_alone = false;
        self
    }

    /// The same with another [`max_body`](Self::max_body).
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The same with another [`kept_answer`](Self::kept_answer).
    #[must_use]
    pub fn with_kept_answer(mut self, bytes: usize) -> Self {
        self.kept_answer = bytes;
        self
    }

    /// The same with another [`tolerance`](Self::tolerance).
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Option<Duration>) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The same with another [`accepted`](Self::accepted).
    #[must_use]
    pub fn with_accepted(mut self, body: &'static str) -> Self {
        self.accepted = Some(body);
        self
    }
}

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
