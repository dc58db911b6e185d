INSERT INTO {schema}.record AS r (key, fence, expires, token, free_at, tally, fingerprint)
    SELECT key, fence, expires, token, free_at, tally, fingerprint FROM {source}
    -- The decision is made on the locked row, which may have been inserted or changed since it was read.
    ON CONFLICT (key) DO UPDATE SET (fence, expires, token, free_at, tally, fingerprint, detail) = (
        SELECT CASE WHEN v < 2 THEN r.fence ELSE greatest(r.fence + 1, excluded.fence) END,
               CASE v WHEN 0 THEN r.expires
                      WHEN 1 THEN greatest(r.expires, greatest(r.free_at, excluded.free_at)
                                                      + excluded.expires - excluded.free_at)
                      ELSE excluded.expires END,
               CASE v WHEN 0 THEN r.token ELSE excluded.token END,
               CASE v WHEN 0 THEN r.free_at
                      WHEN 1 THEN greatest(r.free_at, excluded.free_at)
                      ELSE excluded.free_at END,
               CASE WHEN v < 2 THEN r.tally
                    WHEN v = 2 THEN excluded.tally
                    ELSE least(r.tally / 10 + 1, 200000000) * 10
                         + CASE v WHEN 3 THEN r.tally % 10 - 2 ELSE 4 END END,
               CASE WHEN v < 2 THEN r.fingerprint
                    WHEN v = 2 THEN excluded.fingerprint
                    ELSE coalesce(excluded.fingerprint, r.fingerprint) END,
               -- The progress of the attempts before goes on.
               CASE WHEN v <> 2 THEN r.detail END
        FROM (SELECT {verdict} AS v) AS decided)
    RETURNING r.*
