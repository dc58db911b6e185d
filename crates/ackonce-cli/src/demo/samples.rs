//! Real payloads of GitHub's and Stripe's webhooks. `data/README.md` names their sources.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

const GITHUB: &str = include_str!("../../data/github.jsonl");
const STRIPE: &str = include_str!("../../data/stripe.jsonl");

/// One payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) sender: Sender,
    /// `push`, `charge.refunded`
    pub(crate) kind: &'static str,
    pub(crate) body: &'static str,
}

/// Its sender, which decides the source of its ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The ID of a delivery is a UUID beside the payload.
    GitHub,
    /// The ID of an event is `evt_…`, in the payload, too.
    Stripe,
}

/// All of them.
pub(crate) fn all() -> Result<Vec<Sample>> {
    #[derive(Deserialize)]
    struct Delivery {
        event: &'static str,
        #[serde(borrow)]
        payload: &'static RawValue,
    }
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: &'static str,
    }
    let github = GITHUB.lines().map(|line| {
        let Delivery { event, payload } = serde_json::from_str(line)?;
        Ok(Sample { sender: Sender::GitHub, kind: event, body: payload.get() })
    });
    let stripe = STRIPE.lines().map(|line| {
        let Event { kind } = serde_json::from_str(line)?;
        Ok(Sample { sender: Sender::Stripe, kind, body: line })
    });
    github.chain(stripe).collect::<serde_json::Result<_>>().context("the payloads built into this program")
}

impl Sample {
    /// The payload of the message with that ID. Stripe's says its own.
    pub(crate) fn payload(&self, id: &str) -> String {
        let example = match self.sender {
            Sender::GitHub => return self.body.to_owned(),
            Sender::Stripe => "evt_1Pgc76B7WZ01zgkWwyRHS12y",
        };
        self.body.replacen(example, id, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_what_their_senders_send() {
        let all = all().unwrap();
        assert_eq!(all.len(), 48);
        for sample in all {
            let body: serde_json::Value = serde_json::from_str(&sample.payload("evt_7")).unwrap();
            match sample.sender {
                Sender::GitHub => assert!(body.get("repository").is_some(), "{}", sample.kind),
                Sender::Stripe => assert_eq!(body["id"], "evt_7", "{}", sample.kind),
            }
        }
    }
}
