-- One claim in the user's transaction, under the user's settings: for a SELECT the planner could choose to read
-- the whole table. So the claim uses ON CONFLICT alone, which always uses the index.
WITH {clock}, excluded AS MATERIALIZED (
    SELECT encode(substring(sha256(m.salt || $1::bytea) FOR 16), 'hex')::uuid AS key, c.now AS fence,
           c.now + $3::int8 AS expires, encode($2::bytea, 'hex')::uuid AS token, c.now AS free_at, 12 AS tally,
           ('x' || encode(substring($4::bytea FOR 8), 'hex'))::bit(64)::int8 AS fingerprint,
           $5::text AS scope, $6::bytea AS id
    FROM clock c, {schema}.meta m WHERE m.one
), written AS (
    {grant from excluded}
), named AS (
    INSERT INTO {schema}.name (key, scope, id) SELECT key, scope, id FROM excluded WHERE id IS NOT NULL
    ON CONFLICT (key) DO NOTHING
)
{answer}
