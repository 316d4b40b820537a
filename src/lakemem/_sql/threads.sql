-- Short-term memory: the items of one conversation.

-- name: append
-- The thread's row hands out positions: writers to one thread queue there, so that the order of positions is
-- the order of commits, without gaps. Writers to different threads never meet.
WITH thread AS (
    INSERT INTO {schema}.threads AS t (owner, thread_id, last_position)
    VALUES (%(owner)s, %(thread_id)s, cardinality(%(items)s::text[]))
    ON CONFLICT (owner, thread_id) DO UPDATE
        SET last_position = t.last_position + excluded.last_position, updated_at = clock_timestamp()
    RETURNING last_position - cardinality(%(items)s::text[]) AS before
), added AS (
    INSERT INTO {schema}.thread_items (owner, thread_id, position, item)
    SELECT %(owner)s, %(thread_id)s, thread.before + given.place, given.item::json
    FROM thread, unnest(%(items)s::text[]) WITH ORDINALITY AS given (item, place)
)
SELECT before FROM thread;

-- name: items
-- The newest items, the oldest of them first.
SELECT position, item::text, created_at
FROM (
    SELECT position, item, created_at
    FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s
    ORDER BY position DESC
    LIMIT %(limit)s
) AS newest
ORDER BY position;

-- name: pop
DELETE FROM {schema}.thread_items
WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND position = (
    SELECT max(position) FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s
)
RETURNING item::text;

-- name: clear
DELETE FROM {schema}.thread_items WHERE owner = %(owner)s AND thread_id = %(thread_id)s;

-- name: hold
-- Waits for the writers of a thread, so that the next statement sees what they wrote.
SELECT FROM {schema}.threads WHERE owner = %(owner)s AND thread_id = %(thread_id)s FOR UPDATE;

-- name: delete
-- Run after `hold`: an append that commits in the meantime would leave items without a thread.
WITH items AS (
    DELETE FROM {schema}.thread_items WHERE owner = %(owner)s AND thread_id = %(thread_id)s
), writes AS (
    DELETE FROM {schema}.checkpoint_writes WHERE owner = %(owner)s AND thread_id = %(thread_id)s
), blobs AS (
    DELETE FROM {schema}.checkpoint_blobs WHERE owner = %(owner)s AND thread_id = %(thread_id)s
), checkpoints AS (
    DELETE FROM {schema}.checkpoints WHERE owner = %(owner)s AND thread_id = %(thread_id)s
)
DELETE FROM {schema}.threads WHERE owner = %(owner)s AND thread_id = %(thread_id)s
RETURNING thread_id;

-- name: info
SELECT thread_id, created_at, updated_at
FROM {schema}.threads
WHERE owner = %(owner)s AND thread_id = %(thread_id)s;

-- name: list
SELECT thread_id, created_at, updated_at
FROM {schema}.threads
WHERE owner = %(owner)s
ORDER BY updated_at DESC, thread_id
LIMIT %(limit)s;
