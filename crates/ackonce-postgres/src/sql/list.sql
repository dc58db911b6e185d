-- One page of records in the order of their keys. It looks at $2 records at most, whatever it finds in them.
WITH looked AS MATERIALIZED (
    SELECT r.*, {fence} AS fence, {expires} AS until, {state} AS state
    FROM {schema}.record r WHERE key > $1 ORDER BY key LIMIT $2
), found AS (
    SELECT looked.*, coalesce(sum(octet_length(detail)) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING
           AND 1 PRECEDING), 0)::int8 AS bytes_before
    FROM looked WHERE until > (SELECT {now}) AND ($3::text IS NULL OR state = $3) ORDER BY key LIMIT $4
)
SELECT f.key, false, (SELECT {now}), f.fence, f.until, f.token, f.lease_ends, f.tally, f.fingerprint,
       CASE WHEN f.bytes_before < $5 THEN f.detail END, n.scope, n.id, f.bytes_before >= $5 AS over,
       (SELECT count(*) FROM looked) AS looked_at, (SELECT key FROM looked ORDER BY key DESC LIMIT 1) AS last
FROM (SELECT 1) AS one LEFT JOIN found f ON true LEFT JOIN {schema}.name n ON n.key = f.key ORDER BY f.key
