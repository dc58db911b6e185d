CASE
        WHEN r.key IS NULL OR r.expires <= excluded.fence THEN 2 -- absent: a first attempt
        WHEN r.fingerprint <> excluded.fingerprint THEN 0 -- another payload
        WHEN r.free_at IS NULL THEN 0 -- done or buried
        WHEN r.tally % 10 < 5 AND r.token = excluded.token THEN 1 -- the same claim again
        WHEN r.free_at > excluded.fence THEN 0 -- held by another
        WHEN r.tally % 10 < 5 THEN 4 -- its worker vanished
        WHEN r.token <> excluded.token THEN 3 -- released
        ELSE 0 -- a late copy of the claim that was released
    END
