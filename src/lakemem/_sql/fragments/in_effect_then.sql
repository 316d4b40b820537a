-- The version `held` that was in effect at a moment, and the place of a new one: it takes over the rest of that one's
-- time, or else the time up to the next version. A moment that this server's clock has not reached yet counts as now.
-- The row is locked first, for what closes many memories at once does not hold the lock on each key.
moment AS MATERIALIZED (
    SELECT least(%(valid_from)s::timestamptz, clock_timestamp()) AS at
), held AS MATERIALIZED (
    SELECT {memory_columns}, {alive} AS alive, {alive} AND {same} AS same
    FROM {schema}.memories AS m
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
        AND valid_from <= (SELECT at FROM moment) AND (valid_to IS NULL OR valid_to > (SELECT at FROM moment))
    FOR NO KEY UPDATE
), following AS MATERIALIZED (
    SELECT version, valid_from
    FROM {schema}.memories
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
        AND valid_from > (SELECT at FROM moment)
    -- Of several since the same moment, the last one is in effect.
    ORDER BY valid_from, version DESC
    LIMIT 1
), place AS MATERIALIZED (
    SELECT
        moment.at,
        CASE WHEN held.version IS NULL THEN following.valid_from ELSE held.valid_to END AS valid_to,
        CASE WHEN held.version IS NULL THEN following.version ELSE held.superseded_by END AS superseded_by
    FROM moment LEFT JOIN held ON true LEFT JOIN following ON true
)
