-- The settings of an inbox's transaction, and the records of its claims, as lines. A statement before it has saved the planner's
-- setting and restricted the planner to indexes; this one restores it for the handlers. Without a condition's row there is no answer:
-- these are not the tables that the store connected to. The set-up has a row for each record, or one.
WITH inbox AS MATERIALIZED (
    SELECT {keeps}, {durable}, set_config('ackonce.run', $2::text, true) AS run{settings},
           set_config('enable_seqscan', current_setting('ackonce.seqscan'), true) AS seqscan
    FROM {schema}.meta WHERE one AND version = {version} AND {ours}
)
SELECT CASE WHEN r.key IS NULL THEN i.keeps::text ELSE i.keeps::text || ' ' || {line} END AS line
FROM inbox i LEFT JOIN (
    SELECT r.* FROM unnest((SELECT string_to_array($1::text, ',')::uuid[])) AS q (key),
         LATERAL (SELECT * FROM {schema}.record WHERE record.key = q.key LIMIT 1) r
) r ON true
