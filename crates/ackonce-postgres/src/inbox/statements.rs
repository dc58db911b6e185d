//! The statements of an inbox around its handlers: the set-up, the look at the claims, the completion.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

use ackonce::store::{Settlement, Token};
use ackonce::{Error, ErrorKind};

use super::session::{InboxSession, SqlSession};
use super::settings::InboxSettings;
use crate::check::keeps;
use crate::error::undone;
use crate::records::{Id, RowState, parse, to_hex};
use crate::request::{becomes, detail, micros, times};
use crate::sql_error::SqlError;
use crate::store::Inner;

macro_rules! read_by_index {
    () => {
        "SELECT set_config('ackonce.seqscan', current_setting('enable_seqscan'), true), \
         set_config('enable_seqscan', 'off', true)"
    };
}

/// Restricts the planner to indexes while the inbox reads its claims.
pub(super) const READ_BY_INDEX: &str = read_by_index!();

/// The text that begins an inbox's transaction, for a driver that takes such a text.
pub const BEGIN: &str = concat!("BEGIN ISOLATION LEVEL READ COMMITTED; ", read_by_index!());

/// The first statements of an inbox's transaction, for a driver that begins it by itself.
pub const SET_UP: &str = concat!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ", read_by_index!());

/// The texts for one store and its settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct InboxTexts {
    look: &'static str,
    complete: &'static str,
}

impl InboxTexts {
    pub(super) fn new(inner: &Inner, settings: &InboxSettings) -> Self {
        let texts = inner.texts();
        Self {
            look: interned(texts.inbox_look(&settings.columns())),
            complete: interned(texts.inbox_complete()),
        }
    }
}

/// Keeps a text for as long as the program runs, once. The texts differ by schema and settings alone, so they are few.
#[must_use]
pub fn interned(text: String) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text.as_str()) {
        return known;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    texts.insert(text);
    text
}

/// The statements of one transaction.
pub(super) struct Statements<'i> {
    inner: &'i Inner,
    texts: InboxTexts,
    salt: String,
    /// The transaction's name, set in it as a setting: a statement that does not find it runs in another transaction.
    run: String,
}

impl<'i> Statements<'i> {
    pub(super) fn new(inner: &'i Inner, texts: InboxTexts) -> Self {
        Self { inner, texts, salt: to_hex(&inner.salt.0), run: to_hex(&Token::random().0) }
    }

    /// Sets the transaction up and reads the records of its claims. Nothing is locked before the end: heartbeats renew
    /// these very records while the handlers run.
    pub(super) async fn look<M: Send + 'static>(
        &self,
        session: &mut impl InboxSession<M>,
        keys: &[Id],
    ) -> Result<HashMap<Id, RowState>, Error> {
        let keys = keys.iter().map(|key| key.to_text()).collect::<Vec<_>>().join(",");
        let lines = session.look(self.texts.look, &[&keys, &self.run, &self.salt]).await;
        let lines = lines.map_err(|e| undone("reading the claims", e))?;
        let first = lines.first().ok_or_else(elsewhere)?;
        keeps(first.starts_with("true"), self.inner.config.on_unsafe)?;
        let records = lines.iter().filter_map(|line| line.split_once(' '));
        records.map(|(_, line)| parse(line, false).map(|state| (state.key, state))).collect()
    }

    /// Completes the messages and returns whether each settlement was written. As the last statement it fails in an aborted
    /// transaction, finds nothing in another one (`None`), and changes only records that are still claimed under these tokens
    /// and fences.
    pub(super) async fn complete<S: SqlSession>(
        &self,
        session: &mut S,
        settlements: &[&Settlement],
    ) -> Result<Option<Vec<bool>>, SqlError> {
        let keys: Vec<_> = settlements.iter().map(|s| self.inner.salt.id(&s.key)).collect();
        let asked = asked(settlements, &keys);
        let written = session.query(self.texts.complete, &[&asked, &self.run, &self.salt]).await?;
        if written.is_empty() {
            return Ok(None);
        }
        let written: HashSet<_> = written.iter().filter_map(|key| Id::from_text(key)).collect();
        Ok(Some(keys.iter().map(|key| written.contains(key)).collect()))
    }
}

/// The settlements as a JSON array of numbers and digits, which need no escapes.
fn asked(settlements: &[&Settlement], keys: &[Id]) -> String {
    let mut json = String::from("[");
    for (settlement, key) in settlements.iter().zip(keys) {
        let comma = if json.len() > 1 { "," } else { "" };
        // The store never makes a fence above a column's maximum.
        let fence = i64::try_from(settlement.fence).unwrap_or(-1);
        let (hold, time) = times(&settlement.action);
        let detail = detail(settlement).map_or_else(|| "null".to_owned(), |d| format!("\"{}\"", to_hex(d)));
        let _ = write!(
            json,
            "{comma}{{\"key\":\"{}\",\"token\":\"{}\",\"fence\":{fence},\"becomes\":{},\"hold\":{},\"time\":{},\"detail\":{detail}}}",
            key.to_text(),
            to_hex(&settlement.token.0),
            becomes(&settlement.action),
            micros(hold),
            micros(time),
        );
    }
    json.push(']');
    json
}

/// The error of connections to another database than the store's.
fn elsewhere() -> Error {
    let message = "postgres: the inbox's pool leads to other tables than the store's (another database, or tables that were made \
                   anew since the store connected); give it a pool of the store's database and start it again";
    Error::new(ErrorKind::Config, message)
}
