-- A part of a list, in the order of the keys. It reads at most $8 records, matching or not, by the path
-- that the filter allows.
WITH looked AS MATERIALIZED (
    {looked}
), found AS (
    SELECT looked.*, coalesce(sum(octet_length(detail)) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING
           AND 1 PRECEDING), 0)::int8 AS bytes_before
    FROM looked WHERE expires > (SELECT {now}) AND ($2::text IS NULL OR state = $2)
        AND ($7::int8 IS NULL OR fence <= (SELECT {now}) - $7)
        AND ($6::bytea IS NULL OR (state = 'buried' AND position($6 IN substring(detail FOR position('\xff'::bytea IN detail || '\xff') - 1)) > 0))
        AND ($5::text IS NULL OR (SELECT scope FROM {schema}.name WHERE name.key = looked.key LIMIT 1) = $5)
    ORDER BY key LIMIT $3
)
SELECT f.key, false, (SELECT {now}), f.fence, f.expires, f.token, f.free_at, f.tally, f.fingerprint,
       CASE WHEN f.bytes_before < $4 THEN f.detail END, n.scope, n.id, f.bytes_before >= $4 AS over,
       (SELECT count(*) FROM looked) AS looked_at, (SELECT key FROM looked ORDER BY key DESC LIMIT 1) AS last
FROM (SELECT 1) AS one LEFT JOIN found f ON true
     LEFT JOIN LATERAL (SELECT scope, id FROM {schema}.name WHERE name.key = f.key LIMIT 1) n ON true
ORDER BY f.key
