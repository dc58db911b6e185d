//! The statements, built from the texts in `sql/` for one schema.

use std::time::Duration;

use super::SchemaName;

/// The version of the schema that this code writes and reads.
pub(crate) const VERSION: i32 = 4;

/// The records of some keys.
pub(crate) const LOOK: &str = include_str!("sql/look.sql");
/// One page of records.
pub(crate) const LIST: &str = include_str!("sql/list.sql");
/// The old records in some pages of the table.
pub(crate) const LIST_PAGES: &str = include_str!("sql/list_pages.sql");
/// The removal of the expired records of some pages of the table.
pub(crate) const SWEEP: &str = include_str!("sql/sweep.sql");

const CLAIM: &str = include_str!("sql/claim.sql");
const ENTER: &str = include_str!("sql/enter.sql");
const GRANT: &str = include_str!("sql/grant.sql");
const SETTLE: &str = include_str!("sql/settle.sql");
const CLOCK: &str = include_str!("sql/clock.sql");
const VERDICT: &str = include_str!("sql/verdict.sql");

/// The server's clock.
pub(crate) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8";

/// The state of a record, in words.
pub(crate) const STATE: &str = "CASE WHEN coalesce(tally, 10) % 10 = 0 THEN 'done' WHEN tally % 10 = 1 THEN 'buried' \
                                WHEN tally % 10 < 5 THEN 'claimed' ELSE 'released' END";

/// The progress that a buried record keeps after its reason.
pub(crate) const PROGRESS: &str = "CASE WHEN position('\\xff'::bytea IN r.detail) > 0 THEN \
                                   substring(r.detail FROM position('\\xff'::bytea IN r.detail) + 1) END";

/// The records that are not done, as the index `record_open` has them.
pub(crate) const OPEN: &str = "token IS NOT NULL OR tally % 10 = 1";

/// A commit that is not flushed can lose acknowledged records, so `off` never applies to the store's statements. The
/// levels above it differ in the records that a failover loses; the operator chooses among them.
pub(crate) const DURABLE: &str = "set_config('synchronous_commit', replace(current_setting(\
                                  'synchronous_commit'), 'off', 'on'), true) AS durable";

/// Restricts the planner to indexes. A plan that was made while a table was small, or by statistics of that time,
/// would read the whole grown table for each key. It applies to the store's own transactions only: the user's
/// statements are planned as the user wants.
pub(crate) const BY_INDEX: &str = "SET LOCAL enable_seqscan = off";

/// Further restrictions for a list of records: a bitmap scan would read and sort all of them for each page, and JIT would
/// compile a plan for longer than it runs.
pub(crate) const IN_ORDER: &str = "; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

// A sub-select hides each array's length from the planner, which would otherwise make a new plan
// for each short array, and planning takes longer than the rest of the statement.
const CLAIMS: &str = "unnest((SELECT $2::uuid[]), (SELECT $3::uuid[]), (SELECT $4::int8[]), (SELECT $5::int8[]), \
                      (SELECT $6::int8[]), (SELECT $7::text[]), (SELECT $8::bytea[])) \
                      AS q (key, token, lease, time, fingerprint, scope, id)";
const SETTLEMENTS: &str = "unnest((SELECT $2::uuid[]), (SELECT $3::uuid[]), (SELECT $4::int8[]), \
                           (SELECT $5::int4[]), (SELECT $6::int8[]), (SELECT $7::int8[]), (SELECT $8::bytea[]), \
                           (SELECT $9::text[]), (SELECT $10::bytea[])) \
                           AS q (key, token, fence, becomes, hold, time, detail, scope, id)";
/// The settlement of a guard.
const COMPLETION: &str = "(SELECT encode(substring(sha256(salt || $1::bytea) FOR 16), 'hex')::uuid AS key, \
                          encode($2::bytea, 'hex')::uuid AS token, $3::int8 AS fence, 0 AS becomes, 0::int8 AS hold, \
                          $4::int8 AS time, $5::bytea AS detail, NULL::text AS scope, NULL::bytea AS id \
                          FROM {schema}.meta WHERE one) AS q";

/// The columns of an answer; one row without a key if nothing was written.
const WRITTEN: &str = "SELECT w.key, true AS written, c.now, w.fence, w.expires, w.token, w.free_at, w.tally, \
                       w.fingerprint, NULL::bytea AS detail FROM clock c LEFT JOIN written w ON w.expires > 0";

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

    pub(crate) fn claim(&self) -> String {
        let grant = GRANT.replace("{source}", "seen WHERE verdict > 0");
        let text = CLAIM.replace("{grant from seen WHERE verdict > 0}", grant.trim_end());
        self.fill(&text.replace("{clock}", &clock("salt = $1")).replace("{requests}", CLAIMS))
    }

    /// The statement writes nothing unless `condition` holds.
    pub(crate) fn settle(&self, condition: &str) -> String {
        self.settlement(&clock(condition), SETTLEMENTS, WRITTEN)
    }

    /// The claim of one key with plain parameters, for the user's transactions: see [`crate::enter_sql`].
    pub(crate) fn enter(&self) -> String {
        let grant = GRANT.replace("{source}", "excluded");
        let text = ENTER.replace("{grant from excluded}", grant.trim_end());
        self.fill(&text.replace("{clock}", &clock("true")))
    }

    /// The completion of that claim: see [`crate::finish_sql`].
    pub(crate) fn finish(&self) -> String {
        self.settlement(&clock("true"), COMPLETION, "SELECT fence FROM written WHERE expires > 0")
    }

    fn settlement(&self, clock: &str, requests: &str, answer: &str) -> String {
        let text = SETTLE.replace("{clock}", clock).replace("{requests}", requests);
        self.fill(&text.replace("{answer}", answer))
    }

    /// Fills in schema and clock, and removes the comments.
    pub(crate) fn fill(&self, text: &str) -> String {
        let text = text.replace("{verdict}", VERDICT.trim_end());
        let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default().trim());
        let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let text = text.replace("{now}", self.now).replace("{state}", STATE).replace("{durable}", DURABLE);
        let text = text.replace("{open}", OPEN).replace("{progress}", PROGRESS);
        let text = text.replace("{version}", &VERSION.to_string());
        text.replace("{schema}", self.schema.quoted())
    }

    /// Opens one of the store's transactions, with its own lock timeout in place of the session's. A host that is
    /// gone before its COMMIT arrives holds its locks for `idle`, and not until the server's TCP notices.
    pub(crate) fn begin(wait: Duration, idle: Duration) -> String {
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; {BY_INDEX}",
            millis(wait),
            millis(idle)
        )
    }
}

/// A time as a setting: zero means no limit to the server, and it refuses larger values.
pub(crate) fn millis(wait: Duration) -> u128 {
    wait.as_millis().clamp(1, 1 << 30)
}

fn clock(condition: &str) -> String {
    CLOCK.trim_end().replace("{condition}", condition)
}
