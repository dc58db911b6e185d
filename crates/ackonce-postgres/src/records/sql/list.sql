-- One page of records in the order of their keys. It reads at most {most} records, matching or not.
WITH looked AS MATERIALIZED (
    SELECT r.*, {state} AS state FROM {schema}.record r WHERE key > $1 ORDER BY key LIMIT {most}
), found AS (
    SELECT looked.*, coalesce(sum(octet_length(detail)) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING
           AND 1 PRECEDING), 0)::int8 AS bytes_before
    FROM looked WHERE expires > (SELECT {now}) AND ($2::text IS NULL OR state = $2) ORDER BY key LIMIT $3
)
SELECT f.key, false, (SELECT {now}), f.fence, f.expires, f.token, f.free_at, f.tally, f.fingerprint,
       CASE WHEN f.bytes_before < $4 THEN f.detail END, n.scope, n.id, f.bytes_before >= $4 AS over,
       (SELECT count(*) FROM looked) AS looked_at, (SELECT key FROM looked ORDER BY key DESC LIMIT 1) AS last
FROM (SELECT 1) AS one LEFT JOIN found f ON true
     LEFT JOIN LATERAL (SELECT scope, id FROM {schema}.name WHERE name.key = f.key LIMIT 1) n ON true
ORDER BY f.key
