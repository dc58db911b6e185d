-- The outbox, in the file of a SqliteStore.
CREATE TABLE IF NOT EXISTS main.ackonce_outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- rows of a lane go out in its order
    at          INTEGER NOT NULL,          -- microseconds since 1970
    lane        INTEGER NOT NULL,          -- a digest of destination and key; its lowest 4 bits are the range
    message_id  TEXT NOT NULL,
    destination TEXT NOT NULL,
    key         BLOB,
    headers     BLOB NOT NULL,             -- see FORMAT.md
    payload     BLOB NOT NULL
) STRICT;
-- Rows that cannot be sent, and those of their lanes that wait behind them.
CREATE TABLE IF NOT EXISTS main.ackonce_outbox_parked (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    lane        INTEGER NOT NULL,
    message_id  TEXT NOT NULL,
    destination TEXT NOT NULL,
    key         BLOB,
    headers     BLOB NOT NULL,
    payload     BLOB NOT NULL,
    parked_at   INTEGER NOT NULL,
    reason      TEXT                       -- NULL: waits behind a row of its lane
) STRICT;
CREATE INDEX IF NOT EXISTS main.ackonce_outbox_parked_lane ON ackonce_outbox_parked (lane);
-- Live relays; those that were killed stay until the next one looks.
CREATE TABLE IF NOT EXISTS main.ackonce_outbox_relay (relay BLOB NOT NULL PRIMARY KEY, until INTEGER NOT NULL) STRICT;
-- Changes by operators; no relay reads or removes them.
CREATE TABLE IF NOT EXISTS main.ackonce_outbox_audit (
    at          INTEGER NOT NULL,
    operation   TEXT NOT NULL,             -- redrive, discard
    id          INTEGER NOT NULL,
    message_id  TEXT NOT NULL,
    destination TEXT NOT NULL,
    actor       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    before      TEXT                       -- the reason for which it was parked
) STRICT;
INSERT OR IGNORE INTO main.ackonce_meta VALUES ('outbox', 1);
