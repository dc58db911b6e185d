-- A batch of settlements of different keys in one statement. It changes and returns only records that are claimed under
-- these tokens and fences. It reads nothing first, so the planner has no choice:
-- ON CONFLICT always uses the index. For a missing record a row is inserted with a negative expiry, which marks
-- it as absent, and the next sweep drops it. Its fence is zero, so that the next fence is the clock's;
-- the fence to compare is in the column of the fingerprint, which a settlement does not write. Codes of the column
-- tally: those of schema.sql, 3 for saved progress and 9 for a redrive.
WITH {clock}, asked AS MATERIALIZED (
    SELECT q.*, c.now FROM clock c, {requests} ORDER BY q.key
), written AS (
    INSERT INTO {schema}.record AS r (key, fence, expires, token, free_at, tally, fingerprint, detail)
    SELECT key, 0, -(now + hold + time), token, now + hold, becomes, fence, detail FROM asked
    ON CONFLICT (key) DO UPDATE SET (expires, token, free_at, tally, fingerprint, detail) = (
        SELECT CASE WHEN excluded.tally = 3 THEN r.expires ELSE -excluded.expires END,
               -- A redrive sets a token that no claim draws: the claim that buried the message is over.
               CASE WHEN excluded.tally = 9 THEN '00000000-0000-0000-0000-000000000000'
                    -- A burial keeps its token, by which its dead letter redrives it.
                    WHEN excluded.tally > 0 THEN r.token END,
               CASE WHEN excluded.tally = 3 THEN r.free_at WHEN excluded.tally > 1 THEN excluded.free_at END,
               -- NULL for the usual message, which is done at its first attempt.
               CASE excluded.tally WHEN 0 THEN nullif(r.tally / 10 * 10, 10)
                                   WHEN 2 THEN r.tally
                                   WHEN 3 THEN r.tally
                                   WHEN 6 THEN greatest(r.tally / 10 - 1, 0) * 10
                                               + CASE r.tally % 10 WHEN 4 THEN 6 ELSE 5 END
                                   WHEN 9 THEN 5
                                   ELSE r.tally / 10 * 10 + excluded.tally END,
               -- The payload of a redriven message may have been corrected.
               CASE WHEN excluded.tally <> 9 THEN r.fingerprint END,
               CASE excluded.tally WHEN 0 THEN excluded.detail
                                   -- No UTF-8 text has the byte between a reason and the progress after it.
                                   WHEN 1 THEN excluded.detail || coalesce('\xff'::bytea || r.detail, '')
                                   -- A shorter one is an earlier copy, which comes late.
                                   WHEN 3 THEN CASE WHEN octet_length(r.detail) > octet_length(excluded.detail)
                                                    THEN r.detail ELSE excluded.detail END
                                   WHEN 9 THEN {progress}
                                   ELSE r.detail END)
    WHERE r.fence = excluded.fingerprint AND r.expires > (SELECT now FROM clock)
          -- Rows of burials before the token was kept have none.
          AND coalesce(r.token, excluded.token) = excluded.token
          AND CASE excluded.tally WHEN 9 THEN r.tally % 10 = 1 ELSE r.tally % 10 BETWEEN 2 AND 4 END
    RETURNING r.*
), named AS (
    INSERT INTO {schema}.name (key, scope, id)
    SELECT key, scope, id FROM asked
    WHERE id IS NOT NULL AND key IN (SELECT key FROM written WHERE expires > 0) ORDER BY key
    ON CONFLICT (key) DO NOTHING
)
{answer}
