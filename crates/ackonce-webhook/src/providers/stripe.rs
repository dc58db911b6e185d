//! Stripe: <https://docs.stripe.com/webhooks/signature>, <https://docs.stripe.com/event-destinations>.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::provider::DAY;
use crate::signature::{Algorithm, Encoding, Part, Scheme, Template, Timestamp, as_is, checked, keys};
use crate::{ConfigError, Event, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{name, option, parse, present};

/// Stripe, snapshot and thin events: `Stripe-Signature: t=…,v1=…`.
///
/// The message ID is the event's (`evt_…`), within the connected account (`account`, or `context` for thin events) where
/// there is one. Live events come again for up to 3 days. Events come in no order.
///
/// ```
/// use ackonce_webhook::Stripe;
/// // Two secrets while one is rotated, or two endpoints on one address.
/// let stripe = Stripe::new(["whsec_new", "whsec_old"])?
///     // Stripe may make two events of one change; these happen once to an object.
///     .once_per_object(["checkout.session.completed", "charge.refunded"]);
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stripe {
    scheme: Scheme,
    once: BTreeSet<String>,
}

impl Stripe {
    /// With these signing secrets, as Stripe shows them (`whsec_…`); any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is empty.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let mut scheme = Scheme::new(name("stripe-signature"), "v1=", Encoding::Hex, keys);
        scheme.separator = Some(',');
        scheme.timestamp = Some(Timestamp::Item("t=".into()));
        scheme.signed = Template(vec![Part::Timestamp, Part::Text(".".into()), Part::Body]);
        Ok(Self { scheme, once: BTreeSet::new() })
    }

    option!(tolerance);

    /// The same, and for events of these types the message ID is type and object (`data.object.id`, or
    /// `related_object.id`) in place of the event's ID: two events of one change take effect once.
    ///
    /// Right for a change that an object sees once (`checkout.session.completed`), wrong for one that can
    /// happen again (`customer.updated`): that would be taken for a repetition.
    #[must_use]
    pub fn once_per_object(mut self, types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.once.extend(types.into_iter().map(Into::into));
        self
    }
}

#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    r#type: Option<String>,
    account: Option<String>,
    context: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    data: Option<Data>,
    related_object: Option<Object>,
}

#[derive(Deserialize)]
struct Data {
    object: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    id: Option<String>,
}

impl Provider for Stripe {
    fn name(&self) -> &str {
        "stripe"
    }

    fn terms(&self) -> Terms {
        // Answers are waited for a little longer; half a minute is on the safe side.
        Terms::new(3 * DAY, Duration::from_secs(30)).with_tolerance(self.scheme.tolerance())
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        let proof = self.scheme.verify(request)?;
        let head: Head = parse(request.body)?;
        let mut id = present(head.id, "body \"id\"")?;
        if let Some(kind) = head.r#type.as_ref().filter(|kind| self.once.contains(*kind)) {
            let body: Body = parse(request.body)?;
            let object = body.data.and_then(|data| data.object).or(body.related_object);
            let object = present(object.and_then(|object| object.id), "body \"data.object.id\"")?;
            id = format!("{kind}:{object}");
        }
        let mut event = Event::new(id, request.body.clone()).proved(&proof);
        if let Some(account) = head.account.or(head.context).filter(|account| !account.is_empty()) {
            event = event.within(account);
        }
        if let Some(kind) = head.r#type {
            event = event.of_kind(kind);
        }
        Ok(Verified::Events(vec![event]))
    }
}
