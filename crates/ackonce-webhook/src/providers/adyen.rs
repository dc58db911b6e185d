//! Adyen, standard webhooks: <https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures>.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::DAY;
use crate::signature::{Algorithm, Proof, SignatureKey, checked, keys, signer};
use crate::{ConfigError, Event, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{digest, parse, present};

/// Adyen's standard webhooks: each item of a request carries its own signature, is verified by itself and takes
/// effect once by itself. A request with one forged item is refused whole.
///
/// The message ID is `eventCode:pspReference:success`, within the merchant account: the `pspReference` of a report is the name of
/// a file, which reports of two accounts share. The signed text is eight values with colons between them, so values
/// with colons (some of those names have times in them) may be read in more than one way; then
/// it is SHA-256 of the signed text, which is the same for each of them. Requests come again for up to 30 days. The answer to a settled
/// request is `[accepted]`.
///
/// ```
/// // The HMAC key of the Customer Area, which is hexadecimal.
/// let adyen = ackonce_webhook::Adyen::new(["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"])?;
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Adyen {
    keys: Vec<SignatureKey>,
}

impl Adyen {
    /// With these HMAC keys, in hexadecimal as Adyen shows them; any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is not hexadecimal.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let decode = |secret: &Secret| hex::decode(secret.bytes()).map_err(|_| "it is not hexadecimal");
        Ok(Self { keys: keys(Algorithm::HmacSha256, &checked(secrets)?, decode)? })
    }

    fn item(&self, request: &RawRequest<'_>, raw: &RawValue) -> Result<Event, VerifyError> {
        let text = raw.get();
        let item: ReportItem = parse(text.as_bytes())?;
        let signed = item.signed();
        let proof = self.proof(&item, &signed)?;
        let ambiguous = item.has_other_readings(&signed);
        // From the right, the signed text has but one reading: no value of these has a colon.
        let plain = |value: Option<String>, name: &'static str| match present(value, name)? {
            value if value.contains(':') => Err(VerifyError::malformed(name, "it has a colon")),
            value => Ok(value),
        };
        let code = plain(item.event_code, "eventCode")?;
        let success = plain(Some(item.success.text().to_owned()), "success")?;
        let payload = request.body.slice_ref(text.as_bytes());
        let event = match ambiguous {
            // Its account is that of one reading.
            true => Event::new(digest(&[signed.as_bytes()]), payload),
            false => {
                let psp = present(item.psp_reference, "pspReference")?;
                let event = Event::new(format!("{code}:{psp}:{success}"), payload);
                match item.merchant_account_code.filter(|account| !account.is_empty()) {
                    Some(account) => event.within(account),
                    None => event,
                }
            }
        };
        Ok(event.of_kind(code).proved(&proof))
    }

    fn proof(&self, item: &ReportItem, signed: &str) -> Result<Proof, VerifyError> {
        let text = item.additional_data.as_ref().and_then(|data| data.hmac_signature.as_deref());
        let text = text.ok_or(VerifyError::Unsigned("additionalData.hmacSignature".into()))?;
        let secret = signer(&self.keys, &[signed.as_bytes()], text)?;
        Ok(Proof { timestamp: None, secret })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'b> {
    #[serde(borrow)]
    notification_items: Vec<Wrapped<'b>>,
}

#[derive(Deserialize)]
struct Wrapped<'b> {
    #[serde(borrow, rename = "NotificationRequestItem")]
    item: &'b RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReportItem {
    psp_reference: Option<String>,
    original_reference: Option<String>,
    merchant_account_code: Option<String>,
    merchant_reference: Option<String>,
    amount: Option<Amount>,
    event_code: Option<String>,
    success: Success,
    additional_data: Option<Additional>,
}

#[derive(Deserialize)]
struct Amount {
    value: Option<serde_json::Number>,
    currency: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Additional {
    hmac_signature: Option<String>,
}

/// Adyen writes it as text; test tools as a boolean, too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Success {
    Text(String),
    Flag(bool),
}

impl Success {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Flag(true) => "true",
            Self::Flag(false) => "false",
        }
    }
}

impl ReportItem {
    /// Eight fields with colons between them, without any escaping.
    fn signed(&self) -> String {
        let amount = self.amount.as_ref();
        let value = amount.and_then(|amount| amount.value.as_ref()).map(ToString::to_string);
        let fields = [
            self.psp_reference.as_deref(),
            self.original_reference.as_deref(),
            self.merchant_account_code.as_deref(),
            self.merchant_reference.as_deref(),
            value.as_deref(),
            amount.and_then(|amount| amount.currency.as_deref()),
            self.event_code.as_deref(),
            Some(self.success.text()),
        ];
        fields.map(Option::unwrap_or_default).join(":")
    }

    /// True if the signed text could be another item. Anybody who has seen a request may send it with its values cut
    /// elsewhere, and the signature is still right. Only readings that Adyen could have sent count: a merchant account is
    /// always there, neither it nor `originalReference` has a colon, and none begins or ends a `pspReference`.
    fn has_other_readings(&self, signed: &str) -> bool {
        let values: Vec<&str> = signed.split(':').collect();
        if values.len() <= 8 {
            return false;
        }
        let (front, end) = values.split_at(values.len() - 4);
        let currency = self.amount.as_ref().and_then(|amount| amount.currency.as_deref());
        let from_the_right = end[1] == currency.unwrap_or_default();
        // `pspReference` is the first n of them, then come `originalReference`, the account, and the rest.
        let readings = (1..=front.len() - 3)
            .filter(|n| !front[0].is_empty() && !front[n - 1].is_empty() && !front[n + 1].is_empty());
        let this = self.psp_reference.as_deref().map_or(0, |reference| reference.split(':').count());
        let account = self.merchant_account_code.as_deref();
        let is_one = readings.clone().any(|n| n == this && Some(front[n + 1]) == account);
        !(from_the_right && is_one && readings.count() == 1)
    }
}

impl Provider for Adyen {
    fn name(&self) -> &str {
        "adyen"
    }

    fn terms(&self) -> Terms {
        Terms::new(30 * DAY, Duration::from_secs(10)).with_accepted("[accepted]")
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        let body: Body<'_> = parse(request.body)?;
        if body.notification_items.is_empty() {
            return Err(VerifyError::malformed("body", "there is no item in it"));
        }
        let events = body.notification_items.iter().map(|wrapped| self.item(request, wrapped.item));
        Ok(Verified::Events(events.collect::<Result<_, _>>()?))
    }
}
