-- The outbox, in the schema of a PostgresStore.
CREATE SEQUENCE {schema}.outbox_id;

-- The half of the outbox that takes new rows; the other one is drained, then truncated.
CREATE TABLE {schema}.outbox_turn (turn smallint NOT NULL CHECK (turn IN (0, 1)), version int NOT NULL);
INSERT INTO {schema}.outbox_turn VALUES (0, 1);

CREATE TABLE {schema}.outbox (
    turn        smallint NOT NULL,
    id          bigint NOT NULL,           -- rows of a lane go out in its order
    at          timestamptz NOT NULL,
    lane        bigint NOT NULL,           -- a digest of destination and key; its lowest 4 bits are the range
    message_id  text NOT NULL,
    destination text NOT NULL,
    key         bytea,
    headers     bytea NOT NULL,            -- see FORMAT.md
    payload     bytea NOT NULL,
    PRIMARY KEY (id, turn)
) PARTITION BY LIST (turn);
CREATE TABLE {schema}.outbox_0 PARTITION OF {schema}.outbox FOR VALUES IN (0)
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE {schema}.outbox_1 PARTITION OF {schema}.outbox FOR VALUES IN (1)
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);

-- Rows that cannot be sent, and those of their lanes that wait behind them.
CREATE TABLE {schema}.outbox_parked (
    id          bigint NOT NULL PRIMARY KEY,
    at          timestamptz NOT NULL,      -- of its publication
    lane        bigint NOT NULL,
    message_id  text NOT NULL,
    destination text NOT NULL,
    key         bytea,
    headers     bytea NOT NULL,
    payload     bytea NOT NULL,
    parked_at   timestamptz NOT NULL,
    reason      text                       -- NULL: waits behind a row of its lane
);
CREATE INDEX outbox_parked_lane ON {schema}.outbox_parked (lane);

-- Live relays; those that were killed stay until the next one looks.
CREATE TABLE {schema}.outbox_relay (relay bytea NOT NULL PRIMARY KEY, until timestamptz NOT NULL) WITH (fillfactor = 50);

-- Changes by operators; no relay reads or removes them.
CREATE TABLE {schema}.outbox_audit (
    at          timestamptz NOT NULL,
    operation   text NOT NULL,             -- redrive, discard
    id          bigint NOT NULL,
    message_id  text NOT NULL,
    destination text NOT NULL,
    actor       text NOT NULL,
    reason      text NOT NULL,
    before      text                       -- the reason for which it was parked
);
