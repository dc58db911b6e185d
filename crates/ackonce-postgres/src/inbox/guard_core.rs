//! The claim of a guard, in the caller's transaction of any driver.

use std::time::Duration;

use ackonce::store::{
    ClaimRequest, Claimed, Entered, GuardOptions, Lease, MAX_VALUE_LEN, Names, Repeat, Token, value_too_long,
};
use ackonce::{Error, ErrorKind, Key, Result};
use bytes::Bytes;

use super::session::SqlSession;
use super::statements::interned;
use crate::error::undone;
use crate::records::{Texts, parse, to_hex};
use crate::request::{granted, micros};
use crate::{SchemaName, schema};

/// The claim of a guard, without its driver. A guard's crate wraps it and passes its transaction on.
#[derive(Debug)]
#[must_use = "a transaction that commits without finish() has an effect and no record"]
pub struct GuardCore {
    lease: Lease,
    schema: SchemaName,
    window: Duration,
    outcome: Option<Bytes>,
}

impl GuardCore {
    /// Claims `key` in this transaction, before its effects.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), and any error of PostgreSQL for a write.
    pub async fn enter(
        session: &mut impl SqlSession,
        schema: &SchemaName,
        key: &Key,
        options: &GuardOptions,
    ) -> Result<Entered<Self>> {
        let request = ClaimRequest {
            key: key.clone(),
            token: Token::random(),
            // No other transaction sees the claim before it is completed.
            lease: Duration::ZERO,
            window: options.window(),
            fingerprint: options.fingerprint(),
        };
        let name = (options.names() == Names::Keep).then_some(key);
        let params = [
            &*to_hex(key.digest()),
            &to_hex(&request.token.0),
            &micros(options.window()).to_string(),
            &bytes(request.fingerprint.as_ref().map(|f| &f.0[..])),
            name.map_or("", |key| key.scope().name()),
            &bytes(name.map(|key| &key.id()[..])),
        ];
        let text = interned(Texts::new(schema).enter_line());
        let lines = session.query(text, &params).await.map_err(|e| undone("entering", e))?;
        let Some(line) = lines.first() else { return Err(version(session, schema).await) };
        Ok(match granted(parse(line, true)?, &request)?.answer {
            Claimed::Acquired(lease) => Entered::First(Self {
                lease,
                schema: schema.clone(),
                window: options.window(),
                outcome: None,
            }),
            Claimed::Done(record) => Entered::Duplicate(record),
            Claimed::Busy { free_in } => Entered::Busy { free_in },
            Claimed::Mismatch(record) => Entered::Mismatch(record),
        })
    }

    /// Adds an outcome to the record, to replay to a later copy of the message.
    pub fn with_outcome(mut self, outcome: Bytes) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// The claim, with its fence and the number of its attempt.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Completes the message, as the transaction's last statement before its commit.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) if the transaction no longer holds the claim.
    pub async fn finish(self, session: &mut impl SqlSession) -> Result<()> {
        if let Some(len) = self.outcome.as_ref().map(Bytes::len).filter(|len| *len > MAX_VALUE_LEN) {
            return Err(value_too_long("postgres", len));
        }
        let params = [
            &*to_hex(self.lease.key.digest()),
            &to_hex(&self.lease.token.0),
            &i64::try_from(self.lease.fence).unwrap_or(-1).to_string(),
            &micros(self.window).to_string(),
            &bytes(self.outcome.as_deref()),
        ];
        let text = interned(Texts::new(&self.schema).finish_line());
        let lines = session.query(text, &params).await.map_err(|e| undone("finishing", e))?;
        if lines.is_empty() {
            let message = "postgres: the transaction no longer holds the claim; roll back and deliver the message again";
            return Err(Error::new(ErrorKind::Protocol, message).with_repeat(Repeat::Safe));
        }
        Ok(())
    }
}

/// The error of a claim without an answer: the tables have another version.
async fn version(session: &mut impl SqlSession, schema: &SchemaName) -> Error {
    let found = session.query(interned(schema::version_sql(schema)), &[]).await;
    let version = found.ok().and_then(|lines| lines.first()?.parse().ok());
    version.map_or_else(|| schema::changed(schema), |version| schema::another(schema, version))
}

/// A parameter of bytes, or NULL.
fn bytes(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "-".to_owned(), to_hex)
}
