-- Short-term memory: the items of one conversation.

-- name: append
-- The thread's row hands out positions: writers to one thread queue there, so that the order of positions is
-- the order of commits, without gaps. Writers to different threads never meet.
WITH thread AS (
    INSERT INTO {schema}.threads AS t (owner, thread_id, last_position)
    VALUES (%(owner)s, %(thread_id)s, cardinality(%(items)s::text[]))
    ON CONFLICT (owner, thread_id) DO UPDATE SET {renewal}
    RETURNING last_position - cardinality(%(items)s::text[]) AS before
), added AS (
    INSERT INTO {schema}.thread_items (owner, thread_id, position, item)
    SELECT %(owner)s, %(thread_id)s, thread.before + given.place, given.item::json
    FROM thread, unnest(%(items)s::text[]) WITH ORDINALITY AS given (item, place)
)
SELECT before FROM thread;

-- name: items
-- The newest items, the oldest of them first.
SELECT item::text
FROM (
    SELECT position, item
    FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired}
    ORDER BY position DESC
    LIMIT %(limit)s
) AS newest
ORDER BY position;

-- name: messages
-- The same, with their places and times.
SELECT position, item::text, created_at
FROM (
    SELECT position, item, created_at
    FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired}
    ORDER BY position DESC
    LIMIT %(limit)s
) AS newest
ORDER BY position;

-- name: hold
-- Waits for the writers of a thread, so that the next statement sees what they wrote. What removes items begins
-- with it: with the appends, which lock the same row, all changes to a thread have one order.
SELECT FROM {schema}.threads WHERE owner = %(owner)s AND thread_id = %(thread_id)s FOR UPDATE;

-- name: pop
DELETE FROM {schema}.thread_items
WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired} AND position = (
    SELECT max(position) FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s
)
RETURNING item::text;

-- name: clear
WITH usage AS (
    DELETE FROM {schema}.run_usage WHERE owner = %(owner)s AND thread_id = %(thread_id)s
)
DELETE FROM {schema}.thread_items WHERE owner = %(owner)s AND thread_id = %(thread_id)s;

-- name: rewind
WITH removed AS (
    DELETE FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired} AND position > %(position)s
    RETURNING position
)
SELECT count(*) FROM removed;

-- name: fork
-- One snapshot of the thread, with its positions and times. A thread that has expired makes room for the fork.
WITH origin AS MATERIALIZED (
    SELECT *
    FROM {schema}.threads
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND (expires_at IS NULL OR expires_at > now())
), place AS MATERIALIZED (
    SELECT position
    FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND position = %(position)s
), fork AS (
    INSERT INTO {schema}.threads AS t (
        owner, thread_id, last_position, title, metadata, lifetime, expires_at, forked_from, forked_position
    )
    SELECT
        %(owner)s, %(fork_id)s, place.position, origin.title, origin.metadata, origin.lifetime,
        coalesce(now() + origin.lifetime, origin.expires_at), origin.thread_id, place.position
    FROM origin, place
    ON CONFLICT (owner, thread_id) DO UPDATE SET {renewal} WHERE t.expires_at <= now()
    RETURNING t.thread_id
), copied AS (
    INSERT INTO {schema}.thread_items (owner, thread_id, position, item, created_at)
    SELECT %(owner)s, fork.thread_id, i.position, i.item, i.created_at
    FROM fork, {schema}.thread_items AS i
    WHERE i.owner = %(owner)s AND i.thread_id = %(thread_id)s AND i.position <= %(position)s
)
SELECT
    EXISTS (SELECT FROM origin) AS has_thread,
    EXISTS (SELECT FROM place) AS has_position,
    EXISTS (SELECT FROM fork) AS forked;

-- name: update
-- Not a sign of life: it neither moves the thread up in a listing nor puts off its end.
INSERT INTO {schema}.threads AS t (owner, thread_id, title, metadata, lifetime, expires_at)
VALUES (
    %(owner)s, %(thread_id)s, %(title)s, coalesce(%(metadata)s::jsonb, '{{}}'),
    CASE WHEN %(slides)s THEN make_interval(secs => %(expires_in)s::float8) END,
    now() + make_interval(secs => %(expires_in)s::float8)
)
ON CONFLICT (owner, thread_id) DO UPDATE SET
    last_position = CASE
        WHEN t.expires_at <= now() THEN {schema}.empty_thread(t.owner, t.thread_id) ELSE t.last_position
    END,
    created_at = CASE WHEN t.expires_at <= now() THEN excluded.created_at ELSE t.created_at END,
    updated_at = CASE WHEN t.expires_at <= now() THEN excluded.updated_at ELSE t.updated_at END,
    title = CASE WHEN %(sets_title)s OR t.expires_at <= now() THEN excluded.title ELSE t.title END,
    metadata = CASE WHEN %(sets_metadata)s OR t.expires_at <= now() THEN excluded.metadata ELSE t.metadata END,
    lifetime = CASE WHEN %(sets_expiry)s OR t.expires_at <= now() THEN excluded.lifetime ELSE t.lifetime END,
    expires_at = CASE WHEN %(sets_expiry)s OR t.expires_at <= now() THEN excluded.expires_at ELSE t.expires_at END,
    forked_from = CASE WHEN t.expires_at <= now() THEN NULL ELSE t.forked_from END,
    forked_position = CASE WHEN t.expires_at <= now() THEN NULL ELSE t.forked_position END
RETURNING {thread_columns};

-- name: delete
-- Removing the row waits for an append that is under way; what that added is emptied with the rest.
WITH thread AS (
    DELETE FROM {schema}.threads
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s
    RETURNING expires_at IS NULL OR expires_at > now() AS was_there
)
SELECT coalesce(thread.was_there, false), {schema}.empty_thread(%(owner)s, %(thread_id)s)
FROM (VALUES (1)) AS once LEFT JOIN thread ON true;

-- name: remove_expired
-- A thread that is being written to is left out: the write begins it anew.
WITH expired AS MATERIALIZED (
    SELECT thread_id
    FROM {schema}.threads
    WHERE owner = %(owner)s AND expires_at <= now() AND {not_on_hold}
    ORDER BY expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM {schema}.threads
    WHERE owner = %(owner)s AND thread_id = ANY (ARRAY(SELECT thread_id FROM expired))
    RETURNING thread_id
)
SELECT count({schema}.empty_thread(%(owner)s, thread_id)) FROM removed;

-- name: info
SELECT {thread_columns}
FROM {schema}.threads
WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND (expires_at IS NULL OR expires_at > now());

-- name: list
-- A page after the place of a cursor; by its values, so that it stays valid whatever is written in the meantime.
SELECT {thread_columns}
FROM {schema}.threads
WHERE owner = %(owner)s AND metadata @> %(filter)s::jsonb AND (expires_at IS NULL OR expires_at > now())
    AND active_on <= (coalesce(%(updated_at)s::timestamptz, 'infinity') AT TIME ZONE 'UTC')::date
    AND (updated_at, thread_id) < (coalesce(%(updated_at)s::timestamptz, 'infinity'), coalesce(%(after)s::text, ''))
ORDER BY active_on DESC, updated_at DESC, thread_id DESC
LIMIT %(limit)s;
