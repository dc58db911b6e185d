//! The record of an event: its scope, and the fingerprint that tells a changed body.

use ackonce::store::{Fingerprint, MAX_SCOPE_LEN};
use ackonce::{KeyError, Scope};

use crate::event::{Event, IdBound};

/// The scope of an event's record: by the endpoint's scope, the name of the provider and the namespace of the ID
/// ([`Event::scope`]). For looking records up, forgetting and redriving them.
///
/// Provider and namespace stand beside the endpoint's scope ([`Scope::beside`]): no other scope has them in its name, and
/// two providers under one scope share no IDs.
///
/// ```
/// use ackonce::Scope;
/// use ackonce_webhook::record_scope;
/// let scope = Scope::new("hooks")?;
/// // A GitHub delivery that should run again: forget this key, then redeliver.
/// let key = record_scope(&scope, "github", ["hook-7"])?.key("72d3162e-cc78-11e3")?;
/// # Ok::<(), ackonce::KeyError>(())
/// ```
///
/// # Errors
/// [`KeyError::LongScope`]: the name would have more than 256 bytes, besides that of the scope.
pub fn record_scope(
    scope: &Scope,
    provider: &str,
    within: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Scope, KeyError> {
    let mut purpose = String::from("webhook/");
    purpose.extend(form_urlencoded::byte_serialize(provider.as_bytes()));
    for part in within {
        purpose.push('/');
        purpose.extend(form_urlencoded::byte_serialize(part.as_ref().as_bytes()));
    }
    match purpose.len() {
        ..=MAX_SCOPE_LEN => Ok(scope.beside(&purpose)),
        len => Err(KeyError::LongScope { len }),
    }
}

/// When another body under the same ID is noticed, and then met with [`Settings::on_mismatch`](ackonce::Settings::on_mismatch).
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{MemoryStore, OnMismatch, Scope};
/// use ackonce_webhook::{Fingerprints, StandardWebhooks, Webhook};
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// // Of a sender that writes an event the same on each attempt: a changed one is a fault, and answered 422.
/// let sender = StandardWebhooks::new(["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])?;
/// let layer = Webhook::new(sender, &Scope::new("orders")?, Arc::new(MemoryStore::new()))
///     .with_fingerprints(Fingerprints::Always)
///     .with_settings(|settings| settings.with_on_mismatch(OnMismatch::HandBack))
///     .layer()?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fingerprints {
    /// If the signature does not cover the ID. If it does, the provider vouches for it, and some write
    /// the same event a little differently on each attempt (Stripe counts its pending deliveries in it).
    #[default]
    Unsigned,
    /// For every event.
    Always,
    /// Never.
    Never,
}

impl Fingerprints {
    /// The fingerprint of an event, where a changed body is to be noticed.
    pub(crate) fn of(self, event: &Event) -> Option<Fingerprint> {
        let wanted = match self {
            Self::Unsigned => event.id_bound() == IdBound::Unsigned,
            Self::Always => true,
            Self::Never => false,
        };
        wanted.then(|| Fingerprint::of(event.payload()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_form_is_a_promise_to_stored_records() {
        let scope = Scope::new("billing").unwrap();
        let name = |within: &[&str]| record_scope(&scope, "stripe", within).unwrap().name().to_owned();
        assert_eq!(name(&[]), "billing/~webhook/stripe");
        assert_eq!(name(&["acct/1"]), "billing/~webhook/stripe/acct%2F1");
    }

    #[test]
    fn no_two_lists_of_parts_are_one_scope() {
        let scope = Scope::new("s").unwrap();
        let lists: [(&str, &[&str]); 10] = [
            ("p", &[]),
            ("p", &[""]),
            ("p", &["", ""]),
            ("p", &["a", "b"]),
            ("p", &["a/b"]),
            ("p", &["a%2Fb"]),
            ("p/a", &["b"]),
            ("p", &["a b"]),
            ("p", &["a+b"]),
            ("p", &["a\u{1}b"]),
        ];
        let scopes =
            lists.map(|(provider, within)| record_scope(&scope, provider, within).unwrap().key("1").unwrap());
        assert_eq!(HashSet::from(scopes).len(), lists.len());
        assert!(record_scope(&scope, "p", ["a".repeat(250)]).is_err());
    }
}
