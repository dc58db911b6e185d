//! The statements, for one schema.

use ackonce_postgres::SchemaName;
use ackonce_postgres::driver::interned;

/// Rows of a leaf in the order of their numbers. `$1` ranges, `$2` busy lanes, `$3` rows, `$4` bytes.
///
/// The arrays are never parameters of a prepared statement: only a constant array is hashed.
const READ: &str = "\
SELECT id, lane, message_id, destination, key, headers, payload,
       EXISTS (SELECT 1 FROM {schema}.outbox_parked p WHERE p.lane = o.lane) AS held
FROM (SELECT o.*, sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS before
      FROM (SELECT * FROM {schema}.outbox
            WHERE (lane & 15) = ANY($1)
              AND CASE WHEN lane = ANY($2) THEN false ELSE true END
            ORDER BY id LIMIT $3) o) o
WHERE before < $4 ORDER BY id";

const INSERT: &str = "\
INSERT INTO {schema}.outbox (turn, id, at, lane, message_id, destination, key, headers, payload)
SELECT turn, nextval('{schema_text}.outbox_id'), clock_timestamp(), $1, $2, $3, $4, $5, $6 FROM {schema}.outbox_turn";

const INSERT_ALL: &str = "\
INSERT INTO {schema}.outbox (turn, id, at, lane, message_id, destination, key, headers, payload)
SELECT turn, nextval('{schema_text}.outbox_id'), clock_timestamp(), lane, message_id, destination, key, headers, payload
FROM {schema}.outbox_turn,
     (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[])
          WITH ORDINALITY AS r (lane, message_id, destination, key, headers, payload, n) ORDER BY n) r";

/// The same with columns as lists of text, for any driver: bytes, and text as bytes, by their digits.
const INSERT_LISTS: &str = "\
INSERT INTO {schema}.outbox (turn, id, at, lane, message_id, destination, key, headers, payload)
SELECT turn, nextval('{schema_text}.outbox_id'), clock_timestamp(), lane,
       convert_from(message_id, 'UTF8'), convert_from(destination, 'UTF8'), key, headers, payload
FROM {schema}.outbox_turn,
     (SELECT * FROM unnest(string_to_array($1, ',')::bigint[], string_to_array($2, ',')::bytea[],
                           string_to_array($3, ',')::bytea[], string_to_array($4, ',', '-')::bytea[],
                           string_to_array($5, ',')::bytea[], string_to_array($6, ',')::bytea[])
          WITH ORDINALITY AS r (lane, message_id, destination, key, headers, payload, n) ORDER BY n) r
RETURNING message_id AS line";

/// Rows that are gone already are not parked; nor are followers whose lane has no parked row any more.
const PARK: &str = "\
WITH asked AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS a (id, lane, reason)),
moved AS (
    DELETE FROM {schema}.outbox o USING asked a
    WHERE o.id = a.id AND (a.reason IS NOT NULL
        OR EXISTS (SELECT 1 FROM {schema}.outbox_parked p WHERE p.lane = a.lane)
        OR EXISTS (SELECT 1 FROM asked b JOIN {schema}.outbox c ON c.id = b.id
                   WHERE b.lane = a.lane AND b.reason IS NOT NULL))
    RETURNING o.id, o.at, o.lane, o.message_id, o.destination, o.key, o.headers, o.payload, a.reason)
INSERT INTO {schema}.outbox_parked (id, at, lane, message_id, destination, key, headers, payload, parked_at, reason)
SELECT id, at, lane, message_id, destination, key, headers, payload, clock_timestamp(), reason FROM moved";

const PARKED: &str = "\
SELECT id, message_id, destination, key, headers, payload, reason, parked_at,
       (SELECT count(*) FROM {schema}.outbox_parked b WHERE b.lane = p.lane AND b.reason IS NULL) AS behind
FROM {schema}.outbox_parked p WHERE reason IS NOT NULL AND id >= $1 ORDER BY id LIMIT $2";

/// `$1` rows, `$2` operation, `$3` actor, `$4` reason. A redriven row goes back into its place; a discarded one is gone.
const UNPARK: &str = "\
WITH chosen AS (SELECT id, lane FROM {schema}.outbox_parked WHERE id = ANY($1) AND reason IS NOT NULL),
gone AS (
    DELETE FROM {schema}.outbox_parked p
    WHERE p.id IN (SELECT id FROM chosen)
       OR (p.reason IS NULL AND p.lane IN (SELECT lane FROM chosen) AND NOT EXISTS (
            SELECT 1 FROM {schema}.outbox_parked q
            WHERE q.lane = p.lane AND q.reason IS NOT NULL AND q.id NOT IN (SELECT id FROM chosen)))
    RETURNING *),
back AS (
    INSERT INTO {schema}.outbox (turn, id, at, lane, message_id, destination, key, headers, payload)
    SELECT turn, id, at, lane, message_id, destination, key, headers, payload FROM gone, {schema}.outbox_turn
    WHERE $2 = 'redrive' OR reason IS NULL),
noted AS (
    INSERT INTO {schema}.outbox_audit
    SELECT clock_timestamp(), $2, id, message_id, destination, $3, $4, reason FROM gone WHERE reason IS NOT NULL)
SELECT count(*) FROM gone WHERE reason IS NOT NULL";

const LAG: &str = "\
SELECT n, CASE WHEN n <= 10000 THEN n ELSE (SELECT max(id) FROM {schema}.outbox) - lowest + 1 END AS waiting,
       coalesce(extract(epoch FROM clock_timestamp() - oldest), 0)::float8 AS oldest,
       (SELECT count(*) FROM {schema}.outbox_parked) AS parked
FROM (SELECT count(*) AS n, min(id) AS lowest, min(at) AS oldest
      FROM (SELECT id, at FROM {schema}.outbox ORDER BY id LIMIT 10001) w) w";

const ANNOUNCE: &str = "\
WITH me AS (
    INSERT INTO {schema}.outbox_relay VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
    ON CONFLICT (relay) DO UPDATE SET until = excluded.until),
dead AS (
    DELETE FROM {schema}.outbox_relay WHERE relay <> $1 AND until < clock_timestamp() - interval '1 hour')
SELECT count(*) FROM {schema}.outbox_relay WHERE relay <> $1 AND until > clock_timestamp()";

/// The texts of the statements.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) read: String,
    pub(super) insert: String,
    pub(super) insert_all: String,
    pub(super) insert_lists: &'static str,
    pub(super) remove: String,
    pub(super) lock: String,
    pub(super) park: String,
    pub(super) parked: String,
    pub(super) unpark: String,
    pub(super) lag: String,
    pub(super) announce: String,
    pub(super) leave: String,
    pub(super) turn: String,
    pub(super) turn_over: String,
}

impl Texts {
    pub(super) fn new(schema: &SchemaName) -> Self {
        let fill = |text: &str| fill(text, schema);
        Self {
            read: fill(READ),
            insert: fill(INSERT),
            insert_all: fill(INSERT_ALL),
            insert_lists: interned(fill(INSERT_LISTS)),
            remove: fill("DELETE FROM {schema}.outbox WHERE id = ANY($1)"),
            // Parking and unparking see each other's rows, or come after each other.
            lock: fill("LOCK TABLE {schema}.outbox_parked IN SHARE ROW EXCLUSIVE MODE"),
            park: fill(PARK),
            parked: fill(PARKED),
            unpark: fill(UNPARK),
            lag: fill(LAG),
            announce: fill(ANNOUNCE),
            leave: fill("DELETE FROM {schema}.outbox_relay WHERE relay = $1"),
            turn: fill(
                "SELECT turn, pg_relation_size('{schema_text}.outbox_0') AS bytes_0, \
                 pg_relation_size('{schema_text}.outbox_1') AS bytes_1 FROM {schema}.outbox_turn",
            ),
            turn_over: fill("UPDATE {schema}.outbox_turn SET turn = $1 WHERE turn <> $1"),
        }
    }
}

/// The text with the schema's name, as an identifier and within a literal.
pub(super) fn fill(text: &str, schema: &SchemaName) -> String {
    let in_literal = schema.quoted().replace('\'', "''");
    text.replace("{schema_text}", &in_literal).replace("{schema}", schema.quoted())
}
