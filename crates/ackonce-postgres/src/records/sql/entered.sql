-- The answer of a guard's claim.
SELECT w.key, true AS written, e.fence AS now, w.fence, w.expires, w.token, w.free_at, w.tally, w.fingerprint, w.detail,
       CASE WHEN w.fingerprint <> e.fingerprint THEN 'mismatch'
            WHEN w.free_at IS NULL THEN 'duplicate'
            WHEN w.token = e.token THEN 'first' ELSE 'busy' END AS answer
FROM written w, excluded e
