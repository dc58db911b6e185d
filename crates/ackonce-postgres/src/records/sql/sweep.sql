-- Drops the expired records in a range of neighbouring pages, without an index. Rows that another
-- transaction locks are left for the next pass, so a sweep waits for no lock.
WITH dropped AS (
    DELETE FROM {schema}.record WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {schema}.record
        WHERE ctid >= $1 AND ctid < $2 AND expires <= (SELECT {now})
              -- A fence ahead of the clock is kept until the clock has passed it.
              AND fence < (SELECT {now})
        FOR UPDATE SKIP LOCKED))
    RETURNING key
), unnamed AS (
    DELETE FROM {schema}.name WHERE key = ANY (ARRAY(SELECT key FROM dropped))
)
SELECT (SELECT count(*) FROM dropped) AS dropped,
       pg_relation_size(to_regclass('{schema}.record')) / current_setting('block_size')::int8 AS pages,
       pg_stat_get_live_tuples(to_regclass('{schema}.record')) AS live,
       pg_stat_get_dead_tuples(to_regclass('{schema}.record')) AS dead
