-- A batch of claims of different keys in one statement: each is the row that an absent record would become.
WITH {clock}, excluded AS MATERIALIZED (
    SELECT q.key, c.now AS fence, c.now + q.lease + q.time AS expires, q.token, c.now + q.lease AS free_at,
           12 AS tally, q.fingerprint, q.scope, q.id
    FROM clock c, {requests}
    -- Every statement locks rows in this order, so batches cannot deadlock. The sort is here, and not at the INSERT,
    -- so that each row is read and written while its pages of the index are in the cache.
    ORDER BY q.key
), seen AS MATERIALIZED (
    SELECT excluded.*, r.fence AS r_fence, r.expires AS r_expires, r.token AS r_token, r.free_at AS r_free_at,
           r.tally AS r_tally, r.fingerprint AS r_fingerprint, r.detail AS r_detail, {verdict} AS verdict
    FROM excluded LEFT JOIN LATERAL
         (SELECT * FROM {schema}.record WHERE record.key = excluded.key LIMIT 1) r ON true
), written AS (
    {grant from seen WHERE verdict > 0}
), named AS (
    INSERT INTO {schema}.name (key, scope, id)
    SELECT key, scope, id FROM seen WHERE verdict > 0 AND id IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO NOTHING
)
SELECT key, true AS written, (SELECT now FROM clock), fence, expires, token, free_at, tally, fingerprint, detail
FROM written
UNION ALL
-- For a row that is not written the answer is the row as it was read, at the time of the read.
SELECT key, false, now, r_fence, r_expires, r_token, r_free_at, r_tally, r_fingerprint, r_detail
FROM seen, clock WHERE verdict = 0
