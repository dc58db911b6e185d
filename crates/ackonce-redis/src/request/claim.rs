//! Claims.

use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Lease, Names, Token};
use ackonce::{Key, Previous, Result};

use super::{Request, body, parts, record, short, span, unknown_word};
use crate::records::{CLAIM, Field, Reply, Script, Secret, field, kept, misread, tag};

impl Request for ClaimRequest {
    type Answer = Claimed;

    fn script() -> &'static Script {
        &CLAIM
    }

    fn tag(&self) -> u16 {
        tag(&self.key)
    }

    fn field(&self, secret: &Secret) -> Field {
        field(secret, &self.key)
    }

    fn name(&self) -> String {
        format!("{:?}", self.key)
    }

    fn encode(&self, before: Option<&Self>, secret: &Secret, names: Names, out: &mut Vec<u8>) {
        let has_spans = before.is_none_or(|b| (b.lease, b.window) != (self.lease, self.window));
        out.extend_from_slice(&self.field(secret));
        out.extend_from_slice(&self.token.0);
        let has_names = names == Names::Keep;
        out.push(parts(has_spans, self.fingerprint.is_some(), has_names));
        if has_spans {
            span(out, self.lease);
            span(out, self.window);
        }
        if let Some(fingerprint) = &self.fingerprint {
            out.extend_from_slice(&fingerprint.0[..8]);
        }
        if has_names {
            short(out, &kept(&self.key));
        }
    }

    fn decode(&self, word: u8, reply: &mut Reply<'_>) -> Result<Claimed> {
        Ok(match word {
            b'A' => Claimed::Acquired(lease(&self.key, self.token, reply)?),
            b'P' => {
                let lease = lease(&self.key, self.token, reply)?;
                Claimed::Acquired(Lease { progress: body(reply)?, ..lease })
            }
            b'B' => Claimed::Busy { free_in: Duration::from_micros(reply.u56()?) },
            b'D' => Claimed::Done(record(reply)?.1),
            b'M' => Claimed::Mismatch(record(reply)?.1),
            _ => return Err(unknown_word(word)),
        })
    }
}

fn lease(key: &Key, token: Token, reply: &mut Reply<'_>) -> Result<Lease> {
    Ok(Lease {
        key: key.clone(),
        token,
        fence: reply.u64()?,
        attempt: reply.u32()?,
        previous: match reply.u8()? {
            0 => Previous::None,
            1 => Previous::Released,
            2 => Previous::Vanished,
            _ => return Err(misread("the end of the attempt before is not known")),
        },
        progress: None,
    })
}
