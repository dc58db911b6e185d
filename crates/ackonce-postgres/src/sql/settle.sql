-- A batch of settlements in one statement: of different keys, as for claims.
WITH {clock}, asked AS MATERIALIZED (
    SELECT q.*, c.now, c.now + q.lease + q.time AS expires, c.now - q.fence AS age,
           {power of c.now - q.fence, q.time} AS power
    FROM clock c, {requests}
    ORDER BY q.key
), seen AS MATERIALIZED (
    SELECT a.*, CASE WHEN a.action = 'd' AND a.detail IS NULL THEN {span of a.age, a.time, a.power} END AS span,
           {r.fence} AS r_fence, {r.expires} AS r_expires, r.token AS r_token,
           r.lease_ends AS r_lease_ends, coalesce(r.tally, 4) AS r_tally, r.fingerprint AS r_fingerprint,
           -- A settled record has no token: a fence is given to one claim of a key alone.
           coalesce({r.fence} = a.fence AND {r.expires} > a.now
                    AND CASE a.action WHEN 'q' THEN r.token IS NULL AND r.tally & 3 = 3
                                      ELSE r.token = a.token AND r.lease_ends IS NOT NULL END, false) AS change
    FROM asked a LEFT JOIN LATERAL
         (SELECT * FROM {schema}.record WHERE record.key = a.key LIMIT 1) r ON true
), written AS (
    -- The row is there: only a sweep could have taken it since, at the very end of its trail, and then what is
    -- inserted is what this settlement, made just before, would have left.
    INSERT INTO {schema}.record AS r (key, stamp, expires, token, lease_ends, tally, fingerprint, detail)
    SELECT key, (fence << 11) + coalesce(span, 0), CASE WHEN span IS NULL THEN expires END,
           -- A redrive leaves a token that nobody draws: the claim that buried it is over.
           CASE WHEN action IN ('r', 'f', 'e') THEN token
                WHEN action = 'q' THEN '00000000-0000-0000-0000-000000000000' END,
           CASE action WHEN 'e' THEN now + lease END,
           CASE action WHEN 'd' THEN nullif((r_tally >> 2) * 4, 4)
                       WHEN 'b' THEN (r_tally >> 2) * 4 + 3
                       WHEN 'r' THEN (r_tally >> 2) * 4 + 1
                       WHEN 'f' THEN greatest((r_tally >> 2) - 1, 0) * 4 + greatest(r_tally & 3, 1)
                       WHEN 'q' THEN 1
                       WHEN 'e' THEN nullif(r_tally, 4) END,
           -- Nor is the payload of a redriven message known: it may have been mended.
           CASE WHEN action <> 'q' THEN r_fingerprint END, detail
    FROM seen WHERE change
    ON CONFLICT (key) DO UPDATE SET (stamp, expires, token, lease_ends, tally, fingerprint, detail) = (
        SELECT CASE WHEN ours THEN excluded.stamp ELSE r.stamp END,
               CASE WHEN ours THEN excluded.expires ELSE r.expires END,
               CASE WHEN ours THEN excluded.token ELSE r.token END,
               CASE WHEN ours THEN excluded.lease_ends ELSE r.lease_ends END,
               CASE WHEN ours THEN excluded.tally ELSE r.tally END,
               CASE WHEN ours THEN excluded.fingerprint ELSE r.fingerprint END,
               CASE WHEN ours THEN excluded.detail ELSE r.detail END
        FROM (SELECT {r.fence} = {excluded.fence}
                     AND CASE excluded.token WHEN '00000000-0000-0000-0000-000000000000'
                         THEN r.token IS NULL AND r.tally & 3 = 3 ELSE r.lease_ends IS NOT NULL END AS ours) AS decided)
    RETURNING r.*
), named AS (
    INSERT INTO {schema}.name (key, scope, id)
    SELECT key, scope, id FROM seen WHERE change AND id IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO NOTHING
)
SELECT key, true AS written, (SELECT now FROM clock), {fence} AS fence, {expires} AS expires, token, lease_ends,
       tally, fingerprint, NULL::bytea AS detail
FROM written
UNION ALL
SELECT key, false, now, r_fence, r_expires, r_token, r_lease_ends, r_tally, r_fingerprint, NULL::bytea
FROM seen WHERE NOT change
