-- Records of ackonce-postgres, schema version {version}. A file of its own for each version; print it with
-- PostgresStore::schema_sql. A role that runs consumers needs USAGE on the schema and SELECT, INSERT, UPDATE
-- and DELETE on its tables, and no privilege to create them.

-- One row. The key of every record is made with `salt`: a changed salt forgets all of them.
CREATE TABLE {schema}.meta (
    one     bool  NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    version int4  NOT NULL,
    salt    bytea NOT NULL CHECK (length(salt) = 32)
);
INSERT INTO {schema}.meta (version, salt)
VALUES ({version}, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

-- One row per remembered message; the view `records` shows them in words. Eight columns, fixed-length ones first, and
-- NULL for the usual value: a record of a message that succeeded at once takes 60 bytes and its index entry 28. Times are
-- microseconds since 1970.
CREATE TABLE {schema}.record (
    key         uuid NOT NULL CONSTRAINT record_key PRIMARY KEY,
    fence       int8 NOT NULL,
    expires     int8 NOT NULL,
    token       uuid,
    free_at     int8,
    tally       int4,
    fingerprint int8,
    detail      bytea
) WITH (
    -- A settled record takes less room than its claim on every page, so no room is kept free for it.
    fillfactor = 100,
    -- Each message leaves one dead row (its claim) of 92 bytes; that room is used again once it was vacuumed.
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0.03,
    autovacuum_vacuum_insert_scale_factor = 0.2,
    autovacuum_analyze_scale_factor = 0.2,
    -- Truncation takes a lock that stops every reader and writer, and the next window needs the room again.
    vacuum_truncate = false
);
COMMENT ON COLUMN {schema}.record.key IS 'first 16 bytes of SHA-256(meta.salt, SHA-256(length of scope, scope, message ID))';
COMMENT ON COLUMN {schema}.record.fence IS 'of the last claim; the microsecond it was made in, or one more than the fence before';
COMMENT ON COLUMN {schema}.record.expires IS 'the microsecond from which the row counts as absent';
COMMENT ON COLUMN {schema}.record.token IS 'of the last claim; NULL once done';
COMMENT ON COLUMN {schema}.record.free_at IS 'the microsecond from which a claim may be granted: the end of the lease, or of the back-off of a released claim; NULL once done or buried';
COMMENT ON COLUMN {schema}.record.tally IS '10 * attempts + state; 0 done, 1 buried, 2 claimed, 3 claimed after a release, 4 claimed after an attempt that vanished, 5 released, 6 released, and an attempt before it vanished; NULL is 10';
COMMENT ON COLUMN {schema}.record.fingerprint IS 'first 8 bytes of SHA-256 of the payload';
COMMENT ON COLUMN {schema}.record.detail IS 'the outcome that the handler returned once done, the progress of its attempts before; of a burial the reason (UTF-8), and after a byte ff the progress';

-- The few records that are not done, for operators: claimed, released and buried ones.
CREATE INDEX record_open ON {schema}.record (key) WHERE {open};

-- Scope and message ID of a key, if they are stored.
CREATE TABLE {schema}.name (
    key   uuid  NOT NULL PRIMARY KEY,
    scope text  NOT NULL COLLATE "C",
    id    bytea NOT NULL
) WITH (vacuum_truncate = false);
CREATE INDEX name_scope ON {schema}.name (scope, key);

-- Changes by hand.
CREATE TABLE {schema}.audit (
    n         int8        NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation text        NOT NULL,
    key       uuid        NOT NULL,
    scope     text,
    id        bytea,
    before    text        NOT NULL,
    actor     text        NOT NULL,
    reason    text        NOT NULL
);
CREATE INDEX audit_key ON {schema}.audit (key, n);

-- Records for people to read.
CREATE VIEW {schema}.records AS
SELECT r.key, n.scope, n.id, {state} AS state, coalesce(r.tally, 10) / 10 AS attempts, r.fence,
       to_timestamp(r.fence / 1e6) AS claimed, to_timestamp(r.free_at / 1e6) AS free_at,
       to_timestamp(r.expires / 1e6) AS expires, r.detail
FROM {schema}.record r LEFT JOIN {schema}.name n ON n.key = r.key
WHERE r.expires > {now};
