-- A batch of claims in one statement: of different keys, each a row as it would stand if nobody had it.
WITH {clock}, excluded AS MATERIALIZED (
    SELECT q.key, c.now, c.now << 11 AS stamp, c.now + q.lease + q.time AS expires, q.token,
           c.now + q.lease AS lease_ends, NULL::int4 AS tally, q.fingerprint, q.scope, q.id
    FROM clock c, {requests}
    -- Rows are locked in this order, by every statement: batches cannot deadlock. It is here, and not where they are
    -- written, so that a row is looked at and written at once, while its pages of the index are in the cache.
    ORDER BY q.key
), seen AS MATERIALIZED (
    SELECT excluded.*, {r.fence} AS r_fence, {r.expires} AS r_expires, r.token AS r_token,
           r.lease_ends AS r_lease_ends, r.tally AS r_tally, r.fingerprint AS r_fingerprint,
           r.detail AS r_detail, {verdict} AS verdict
    -- LIMIT keeps it a look into the index for each key, whatever the planner believes the table to be.
    FROM excluded LEFT JOIN LATERAL
         (SELECT * FROM {schema}.record WHERE record.key = excluded.key LIMIT 1) r ON true
), written AS (
    INSERT INTO {schema}.record AS r (key, stamp, expires, token, lease_ends, tally, fingerprint)
    SELECT key, stamp, expires, token, lease_ends, tally, fingerprint FROM seen WHERE verdict > 0
    -- The row may have come or changed since it was seen: decided again, on the row as it stands under lock.
    ON CONFLICT (key) DO UPDATE SET (stamp, expires, token, lease_ends, tally, fingerprint, detail) = (
        SELECT CASE WHEN v < 2 THEN r.stamp ELSE greatest({r.fence} + 1, {excluded.fence}) << 11 END,
               CASE v WHEN 0 THEN r.expires
                      WHEN 1 THEN greatest({r.expires}, greatest(r.lease_ends, excluded.lease_ends)
                                                      + excluded.expires - excluded.lease_ends)
                      ELSE excluded.expires END,
               CASE v WHEN 0 THEN r.token ELSE excluded.token END,
               CASE v WHEN 0 THEN r.lease_ends
                      WHEN 1 THEN greatest(r.lease_ends, excluded.lease_ends)
                      ELSE excluded.lease_ends END,
               CASE WHEN v < 2 THEN r.tally
                    WHEN v = 2 THEN excluded.tally
                    ELSE least((coalesce(r.tally, 4) >> 2) + 1, 500000000) * 4
                         + CASE v WHEN 3 THEN r.tally & 3 ELSE 2 END END,
               CASE WHEN v < 2 THEN r.fingerprint
                    WHEN v = 2 THEN excluded.fingerprint
                    ELSE coalesce(excluded.fingerprint, r.fingerprint) END,
               CASE WHEN v < 2 THEN r.detail END
        FROM (SELECT {verdict} AS v) AS decided)
    RETURNING r.*
), named AS (
    INSERT INTO {schema}.name (key, scope, id)
    SELECT key, scope, id FROM seen WHERE verdict > 0 AND id IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO NOTHING
)
SELECT key, true AS written, (SELECT now FROM clock), {fence} AS fence, {expires} AS expires, token, lease_ends,
       tally, fingerprint, detail{answer}
FROM written
UNION ALL
-- Nothing to write: what was seen is the answer, as of the moment it was seen.
SELECT key, false, now, r_fence, r_expires, r_token, r_lease_ends, r_tally, r_fingerprint, r_detail{answer}
FROM seen WHERE verdict = 0
