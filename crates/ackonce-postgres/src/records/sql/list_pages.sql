-- The records in a range of neighbouring pages that are old enough, in the order of their places, without an index. The
-- column `pages` is the number of pages of the table.
WITH looked AS MATERIALIZED (
    SELECT r.*, r.ctid AS place, {state} AS state FROM {schema}.record r
    WHERE ctid > $1 AND ctid < $2 AND fence <= (SELECT {now}) - $6 AND expires > (SELECT {now})
), found AS (
    SELECT looked.*, coalesce(sum(octet_length(detail)) OVER (ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING
           AND 1 PRECEDING), 0)::int8 AS bytes_before
    FROM looked WHERE $3::text IS NULL OR state = $3 ORDER BY place LIMIT $4
)
SELECT f.key, false, (SELECT {now}), f.fence, f.expires, f.token, f.free_at, f.tally, f.fingerprint,
       CASE WHEN f.bytes_before < $5 THEN f.detail END, n.scope, n.id, f.bytes_before >= $5 AS over,
       pg_relation_size(to_regclass('{schema}.record')) / current_setting('block_size')::int8 AS pages, f.place
FROM (SELECT 1) AS one LEFT JOIN found f ON true
     LEFT JOIN LATERAL (SELECT scope, id FROM {schema}.name WHERE name.key = f.key LIMIT 1) n ON true
ORDER BY f.place
