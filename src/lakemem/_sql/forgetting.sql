-- Erasure, holds and the audit log.

-- name: erase
-- Those who work on runs, or wait for them, are told that these have moved: they find them gone.
WITH told AS MATERIALIZED (
    SELECT pg_notify({runs_channel}, '- moved ' || string_agg(left(md5(run_id), 16), ' '))
    FROM (
        SELECT run_id FROM {schema}.runs
        WHERE owner = %(owner)s AND status IN ('queued', 'in_progress', 'waiting')
        LIMIT 400
    ) AS under_way
    HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM told), {schema}.erase_all(%(owner)s, %(requested_by)s, %(reason)s)::text;

-- name: residue
SELECT table_name, row_count FROM {schema}.residue(%(owner)s);

-- name: unless_erased
SELECT {schema}.refuse_erased(%(owner)s, %(waited)s::float8);

-- name: hold
-- One of the same name stays as it was placed.
WITH placed AS (
    INSERT INTO {schema}.holds (owner, name, reason, placed_by)
    VALUES (%(owner)s, %(name)s, %(reason)s, %(requested_by)s)
    ON CONFLICT (owner, name) DO NOTHING
    RETURNING name, reason, placed_by, placed_at
), event AS (
    INSERT INTO {schema}.memory_events (owner, action, requested_by, reason, details)
    SELECT %(owner)s, 'hold', %(requested_by)s, %(reason)s, jsonb_build_object('name', name) FROM placed
)
SELECT name, reason, placed_by, placed_at FROM placed
UNION ALL
SELECT name, reason, placed_by, placed_at FROM {schema}.holds
WHERE owner = %(owner)s AND name = %(name)s AND NOT EXISTS (SELECT FROM placed);

-- name: release
-- With the last hold goes what was kept for it.
WITH released AS (
    DELETE FROM {schema}.holds WHERE owner = %(owner)s AND name = %(name)s
    RETURNING name
), let_go AS (
    DELETE FROM {schema}.held_rows
    WHERE owner = %(owner)s AND EXISTS (SELECT FROM released) AND NOT EXISTS (
        SELECT FROM {schema}.holds WHERE owner = %(owner)s AND name <> %(name)s
    )
), event AS (
    INSERT INTO {schema}.memory_events (owner, action, requested_by, reason, details)
    SELECT %(owner)s, 'release', %(requested_by)s, %(reason)s, jsonb_build_object('name', name) FROM released
)
SELECT name FROM released;

-- name: holds
SELECT name, reason, placed_by, placed_at FROM {schema}.holds WHERE owner = %(owner)s ORDER BY placed_at, name;

-- name: pseudonym
SELECT {schema}.pseudonym(%(owner)s);

-- name: events
-- Behind a number, in their order.
SELECT event_id, action, actor, at, namespace, key, version, requested_by, reason, details::text
FROM {schema}.memory_events
WHERE owner = %(owner)s AND event_id > %(after)s::bigint
ORDER BY event_id
LIMIT %(limit)s;

-- name: note
INSERT INTO {schema}.memory_events (owner, action, requested_by, reason)
VALUES (%(owner)s, %(action)s, %(requested_by)s, %(reason)s);
