CASE
        WHEN r.key IS NULL OR {r.expires} <= {excluded.fence} THEN 2 -- absent: a first attempt
        WHEN r.fingerprint <> excluded.fingerprint THEN 0 -- another payload
        WHEN r.lease_ends IS NOT NULL AND r.token = excluded.token THEN 1 -- the same claim again
        WHEN r.lease_ends <= {excluded.fence} THEN 4 -- its worker vanished
        WHEN r.lease_ends IS NULL AND r.token <> excluded.token THEN 3 -- released
        ELSE 0 -- done, buried, held by another, or a ghost of the attempt that was released
    END
