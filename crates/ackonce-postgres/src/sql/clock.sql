-- One moment for the whole statement, by the server's clock. clock_timestamp() and not now(): that is when the
-- transaction began, which in a transaction of the user's may be long ago. No row, and so no answer, if the schema
-- is not the one that was connected to.
clock AS MATERIALIZED (
    SELECT {now} AS now, {durable}
    FROM {schema}.meta WHERE one AND version = {version} AND {condition}
)
