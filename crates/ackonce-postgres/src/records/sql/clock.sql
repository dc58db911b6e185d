-- One time for the whole statement, by the server's clock: clock_timestamp(), because now() is the time at which the
-- transaction began, and the user's transaction may have begun long ago. There is no row, and so no answer, if the schema
-- is no longer the one that the store connected to.
clock AS MATERIALIZED (
    SELECT {now} AS now, {durable}
    FROM {schema}.meta WHERE one AND version = {version} AND {condition}
)
