//! The statements, made from the texts in `sql/` for one schema.

use std::time::Duration;

use crate::schema::VERSION;
use crate::{SchemaName, terse};

const CLAIM: &str = include_str!("sql/claim.sql");
const SETTLE: &str = include_str!("sql/settle.sql");
const CLOCK: &str = include_str!("sql/clock.sql");
const VERDICT: &str = include_str!("sql/verdict.sql");

/// The server's clock.
pub(crate) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8";

/// A commit that is not flushed loses what was acknowledged, so `off` never holds for a statement of ours. The
/// levels above it differ in what a failover loses, which is the operator's to choose.
pub(crate) const DURABLE: &str = "set_config('synchronous_commit', replace(current_setting(\
                                  'synchronous_commit'), 'off', 'on'), true) AS durable";

// Each array comes out of a sub-select, where the planner does not see how long it is: it would find a plan of its own
// better for each short one, and planning takes longer than all the rest.
const CLAIMS: &str = "unnest((SELECT $2::uuid[]), (SELECT $3::uuid[]), (SELECT $4::int8[]), (SELECT $5::int8[]), \
                      (SELECT $6::int8[]), (SELECT $7::text[]), (SELECT $8::bytea[])) \
                      AS q (key, token, lease, time, fingerprint, scope, id)";
const SETTLEMENTS: &str = "unnest((SELECT $2::uuid[]), (SELECT $3::uuid[]), (SELECT $4::int8[]), \
                           (SELECT $5::\"char\"[]), (SELECT $6::int8[]), (SELECT $7::int8[]), (SELECT $8::bytea[]), \
                           (SELECT $9::text[]), (SELECT $10::bytea[])) \
                           AS q (key, token, fence, action, lease, time, detail, scope, id)";

/// What a statement waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Locks {
    /// This long for each lock, whatever the session says.
    For(Duration),
    /// As long as the transaction around it says.
    AsSet,
}

/// Texts for one schema.
#[derive(Debug, Clone)]
pub(crate) struct Texts<'s> {
    schema: &'s SchemaName,
    now: &'static str,
}

impl<'s> Texts<'s> {
    pub(crate) fn new(schema: &'s SchemaName) -> Self {
        Self { schema, now: NOW }
    }

    pub(crate) fn with_clock(self, now: &'static str) -> Self {
        Self { now, ..self }
    }

    pub(crate) fn claim(&self, locks: Locks) -> String {
        let text = CLAIM.replace("{clock}", &self.clock(locks, "$1"));
        self.fill(&text.replace("{requests}", CLAIMS).replace("{answer}", ""))
    }

    /// `salt` may bring another condition with it.
    pub(crate) fn settle(&self, locks: Locks, salt: &str) -> String {
        self.fill(&SETTLE.replace("{clock}", &self.clock(locks, salt)).replace("{requests}", SETTLEMENTS))
    }

    /// A claim of one key with plain parameters, for transactions of the user's: see [`crate::enter_sql`].
    pub(crate) fn enter(&self) -> String {
        let asked = "(SELECT encode(substring(sha256(meta.salt || $1::bytea) FOR 16), 'hex')::uuid AS key, \
                     encode($2::bytea, 'hex')::uuid AS token, 0::int8 AS lease, $3::int8 AS time, \
                     ('x' || encode(substring($4::bytea FOR 8), 'hex'))::bit(64)::int8 AS fingerprint, \
                     $5::text AS scope, $6::bytea AS id FROM {schema}.meta) AS q";
        let answer = ", CASE WHEN {r}fingerprint <> ('x' || encode(substring($4 FOR 8), 'hex'))::bit(64)::int8 \
                      THEN 'mismatch' WHEN {r}token IS NULL THEN 'duplicate' \
                      WHEN {r}token = encode($2, 'hex')::uuid THEN 'first' ELSE 'busy' END AS answer";
        let text = CLAIM.replace("{clock}", &self.clock(Locks::AsSet, "salt")).replace("{requests}", asked);
        let text = text.replacen("{answer}", &answer.replace("{r}", ""), 1);
        self.fill(&text.replacen("{answer}", &answer.replace("{r}", "r_"), 1))
    }

    /// Its completion, see [`crate::finish_sql`].
    pub(crate) fn finish(&self) -> String {
        let key =
            "(SELECT encode(substring(sha256(salt || $1::bytea) FOR 16), 'hex')::uuid FROM {schema}.meta)";
        self.fill(&format!(
            "UPDATE {{schema}}.record SET stamp = ($3 << 11) + coalesce(span, 0), \
             expires = CASE WHEN span IS NULL THEN c.now + $4 END, token = NULL, lease_ends = NULL, \
             tally = nullif((tally >> 2) * 4, 4), detail = $5 \
             FROM (SELECT {{now}} AS now) AS c, LATERAL (SELECT now - $3::int8 AS age) AS a, \
             LATERAL (SELECT {{power of age, $4::int8}} AS power) AS p, LATERAL (SELECT CASE WHEN $5::bytea IS NULL \
             THEN {{span of age, $4, power}} END AS span) AS s \
             WHERE key = {key} AND token = encode($2::bytea, 'hex')::uuid AND {{fence}} = $3 \
             AND lease_ends IS NOT NULL RETURNING {{fence}} AS fence"
        ))
    }

    /// Fills in schema and clock, and leaves the comments to those who read the source.
    pub(crate) fn fill(&self, text: &str) -> String {
        let text = terse::fill(&text.replace("{verdict}", VERDICT.trim_end()));
        let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default().trim());
        let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let text = text.replace("{now}", self.now).replace("{version}", &VERSION.to_string());
        text.replace("{schema}", self.schema.quoted())
    }

    fn clock(&self, locks: Locks, salt: &str) -> String {
        let settings = match locks {
            Locks::AsSet => DURABLE.to_owned(),
            Locks::For(wait) => {
                // Zero would be for ever.
                format!(
                    "{DURABLE}, set_config('lock_timeout', '{}', true) AS patience",
                    wait.as_millis().max(1)
                )
            }
        };
        CLOCK.trim_end().replace("{settings}", &settings).replace("{salt}", salt)
    }
}
