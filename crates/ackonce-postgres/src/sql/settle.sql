-- A batch of settlements in one statement: of different keys, as for claims. Only claims under these tokens and
-- fences are changed, and only they are answered. Nothing is looked at first, so the planner has nothing to choose:
-- ON CONFLICT knows no other way than the index. For a record that is not there the row is inserted with its expiry
-- below zero, where it means nothing, and the next sweep drops it. Its fence is zero, so that the next one is the clock's;
-- the fence to compare is in the column of the fingerprint, which a settlement does not write. Codes of the column
-- tally: those of schema.sql, and 9 for a redrive.
WITH {clock}, asked AS MATERIALIZED (
    SELECT q.*, c.now FROM clock c, {requests} ORDER BY q.key
), written AS (
    INSERT INTO {schema}.record AS r (key, fence, expires, token, free_at, tally, fingerprint, detail)
    SELECT key, 0, -(now + hold + time), token, now + hold, becomes, fence, detail FROM asked
    ON CONFLICT (key) DO UPDATE SET (expires, token, free_at, tally, fingerprint, detail) = (
        SELECT -excluded.expires,
               -- A redrive leaves a token that nobody draws: the claim that buried the message is over.
               CASE WHEN excluded.tally = 9 THEN '00000000-0000-0000-0000-000000000000'
                    WHEN excluded.tally > 1 THEN r.token END,
               CASE WHEN excluded.tally > 1 THEN excluded.free_at END,
               -- Of a message that was done at its first attempt, as most are, nothing is kept.
               CASE excluded.tally WHEN 0 THEN nullif(r.tally / 10 * 10, 10)
                                   WHEN 2 THEN r.tally
                                   WHEN 6 THEN greatest(r.tally / 10 - 1, 0) * 10
                                               + CASE r.tally % 10 WHEN 4 THEN 6 ELSE 5 END
                                   WHEN 9 THEN 5
                                   ELSE r.tally / 10 * 10 + excluded.tally END,
               -- The payload of a redriven message may have been mended.
               CASE WHEN excluded.tally <> 9 THEN r.fingerprint END,
               excluded.detail)
    WHERE r.fence = excluded.fingerprint AND r.expires > (SELECT now FROM clock)
          AND CASE excluded.tally WHEN 9 THEN r.tally % 10 = 1
                                  ELSE r.token = excluded.token AND r.tally % 10 < 5 END
    RETURNING r.*
), named AS (
    INSERT INTO {schema}.name (key, scope, id)
    SELECT key, scope, id FROM asked
    WHERE id IS NOT NULL AND key IN (SELECT key FROM written WHERE expires > 0) ORDER BY key
    ON CONFLICT (key) DO NOTHING
)
{answer}
