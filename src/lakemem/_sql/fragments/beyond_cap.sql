-- Some of the memories of a kind that are beyond its cap, `held` until they are changed.
ranked AS MATERIALIZED (
    SELECT m.namespace, m.key, m.version
    FROM {schema}.memories AS m
    WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND (m.expires_at IS NULL OR m.expires_at > clock_timestamp())
        AND m.kind = %(kind)s
    ORDER BY m.importance DESC, coalesce(m.occurred_at, m.valid_from) DESC, m.key, m.namespace
    OFFSET %(cap)s::bigint
), held AS MATERIALIZED (
    SELECT m.namespace, m.key, m.version
    FROM (SELECT * FROM ranked LIMIT %(limit)s) AS ranked
    JOIN {schema}.memories AS m ON m.owner = %(owner)s AND m.key = ranked.key AND m.version = ranked.version
        AND m.namespace = ranked.namespace
    WHERE m.valid_to IS NULL
    FOR NO KEY UPDATE OF m SKIP LOCKED
)
