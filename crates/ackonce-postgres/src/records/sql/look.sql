-- The records of some keys.
SELECT r.key, false AS written, {now} AS now, r.fence, r.expires, r.token, r.free_at, r.tally, r.fingerprint, r.detail
FROM unnest((SELECT $1::uuid[])) AS q (key),
     LATERAL (SELECT * FROM {schema}.record WHERE record.key = q.key LIMIT 1) r
