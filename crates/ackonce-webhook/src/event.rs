//! A verified event.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;

use crate::signature::Proof;

/// A verified event. Cloning is cheap.
///
/// In a handler of axum it is an extension: `Extension(event): Extension<Event>`.
///
/// ```
/// use ackonce::{Context, Failure};
/// use ackonce_webhook::Event;
///
/// #[derive(serde::Deserialize)]
/// struct Invoice {
///     amount: u64,
/// }
///
/// /// For `Webhook::handle`.
/// async fn paid(_: Context, event: Event) -> Result<(), Failure> {
///     // A payload that is no invoice never becomes one.
///     let invoice: Invoice = event.json().map_err(|error| Failure::permanent(error.to_string()))?;
///     println!("{:?} {:?}: {}", event.id(), event.kind(), invoice.amount);
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Event(Arc<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    id: Bytes,
    scope: Vec<String>,
    kind: Option<String>,
    timestamp: Option<SystemTime>,
    secret: usize,
    bound: IdBound,
    in_form: bool,
    headers: Option<Arc<HeaderMap>>,
    payload: Bytes,
}

/// The signature's cover of the ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdBound {
    /// It does: the provider vouches for the ID.
    Signed,
    /// It does not: who has seen one request can send it again under another ID, and no verification tells.
    Unsigned,
}

impl Event {
    /// An event with that ID and payload, for providers of your own. Its ID counts as signed; where the signature does
    /// not cover it, say so with [`bound`](Self::bound), or a changed body under a known ID is a duplicate.
    pub fn new(id: impl Into<Bytes>, payload: Bytes) -> Self {
        Self(Arc::new(Inner {
            id: id.into(),
            scope: Vec::new(),
            kind: None,
            timestamp: None,
            secret: 0,
            bound: IdBound::Signed,
            in_form: false,
            headers: None,
            payload,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The same with the namespace of its ID: an account, a hook. Two scopes never share a record.
    #[must_use]
    pub fn within(self, part: impl Into<String>) -> Self {
        self.with(|event| event.scope.push(part.into()))
    }

    /// The same with its type.
    #[must_use]
    pub fn of_kind(self, kind: impl Into<String>) -> Self {
        self.with(|event| event.kind = Some(kind.into()))
    }

    /// The same with the time it was signed.
    #[must_use]
    pub fn signed_at(self, timestamp: Option<SystemTime>) -> Self {
        self.with(|event| event.timestamp = timestamp)
    }

    /// The same with the secret that matched, from 0.
    #[must_use]
    pub fn signed_with(self, secret: usize) -> Self {
        self.with(|event| event.secret = secret)
    }

    /// The same, whether the signature covers its ID.
    #[must_use]
    pub fn bound(self, bound: IdBound) -> Self {
        self.with(|event| event.bound = bound)
    }

    /// The same, whose JSON is the field `payload` of a form.
    pub(crate) fn in_form(self, in_form: bool) -> Self {
        self.with(|event| event.in_form = in_form)
    }

    pub(crate) fn came_with(self, headers: Arc<HeaderMap>) -> Self {
        self.with(|event| event.headers = Some(headers))
    }

    pub(crate) fn proved(self, proof: &Proof) -> Self {
        self.signed_at(proof.timestamp).signed_with(proof.secret)
    }

    /// The message ID.
    #[must_use]
    pub fn id(&self) -> &Bytes {
        &self.0.id
    }

    /// The namespace of the ID, besides the endpoint's own scope.
    #[must_use]
    pub fn scope(&self) -> &[String] {
        &self.0.scope
    }

    /// Its type, where the provider says: `invoice.paid`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.0.kind.as_deref()
    }

    /// When it was signed, where the signature covers a time. Each attempt of the provider may have its own.
    #[must_use]
    pub fn timestamp(&self) -> Option<SystemTime> {
        self.0.timestamp
    }

    /// Which secret matched, from 0, in the order they were given: in a rotation, the old one may go when it
    /// is not seen any more.
    #[must_use]
    pub fn secret(&self) -> usize {
        self.0.secret
    }

    /// True if the signature covers the ID.
    #[must_use]
    pub fn id_bound(&self) -> IdBound {
        self.0.bound
    }

    /// The headers of the request that brought it; `None` outside an endpoint. The sender's word alone: no signature
    /// covers more than its own scheme says.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.0.headers.as_deref()
    }

    /// The content: the request's body, or this event's part of it.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// The payload read as JSON; of a form whose field `payload` is JSON (a GitHub hook of that content type, Slack's
    /// buttons and modals), that field.
    ///
    /// # Errors
    /// It is not JSON, or not of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match self.0.in_form.then(|| form_field(&self.0.payload, "payload")).flatten() {
            Some(json) => serde_json::from_str(&json),
            None => serde_json::from_slice(&self.0.payload),
        }
    }
}

/// The one value of a form's field; `None` where it is missing or there twice.
pub(crate) fn form_field<'f>(form: &'f [u8], name: &str) -> Option<Cow<'f, str>> {
    let mut values = form_urlencoded::parse(form).filter(|(field, _)| field == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// Without the payload: it is about people.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.0.id)
            .field("scope", &self.0.scope)
            .field("kind", &self.0.kind)
            .field("timestamp", &self.0.timestamp)
            .field("secret", &self.0.secret)
            .field("bytes", &self.0.payload.len())
            .finish_non_exhaustive()
    }
}
