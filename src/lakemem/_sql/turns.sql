-- The newest end of a thread as a model needs it: windows, turns, what runs used, and compaction.

-- name: window
-- From the newest item back, one index entry at a time, until a bound is crossed: what lies further back is not
-- read, however long the thread is. The item that crosses it comes without its text. It tells whether a window may
-- begin right after it: what a model says after reasoning may not. In the JSON that lakemem writes, the words that
-- are looked for are never part of a string, where the quotation marks would be escaped.
WITH RECURSIVE walk AS (
    (
        SELECT position, item, octet_length(item::text)::bigint AS bytes, 1 AS items
        FROM {schema}.thread_items
        WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired}
        ORDER BY position DESC
        LIMIT 1
    )
    UNION ALL
    SELECT before.position, before.item, walk.bytes + octet_length(before.item::text), walk.items + 1
    FROM walk CROSS JOIN LATERAL (
        SELECT i.position, i.item
        FROM {schema}.thread_items AS i
        WHERE i.owner = %(owner)s AND i.thread_id = %(thread_id)s AND i.position < walk.position
        ORDER BY i.position DESC
        LIMIT 1
    ) AS before
    WHERE walk.bytes <= %(max_bytes)s::bigint AND walk.items <= %(max_items)s::bigint
)
SELECT CASE WHEN fits THEN item::text END,
    fits OR item::text ~ '"role":"(user|system|developer|tool)"|"type":"[a-z_]*_output"'
FROM (
    SELECT position, item, bytes <= %(max_bytes)s::bigint AND items <= %(max_items)s::bigint AS fits FROM walk
) AS walked
ORDER BY position;

-- name: oldest
SELECT position, item::text, created_at
FROM {schema}.thread_items
WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired}
ORDER BY position
LIMIT %(limit)s;

-- name: replace_tail
-- Run after `threads.hold`, so that nothing is appended in the meantime. Positions are not given twice in the life
-- of a thread, and the times tell apart two threads of the same name.
WITH expected AS (
    SELECT * FROM unnest(%(positions)s::bigint[], %(times)s::timestamptz[]) AS e (position, created_at)
), tail AS (
    SELECT position, created_at
    FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s
        AND (%(whole)s OR position >= (SELECT min(position) FROM expected))
), unchanged AS (
    SELECT
    WHERE {not_expired} AND (%(whole)s OR (
        (SELECT count(*) FROM tail) = cardinality(%(positions)s::bigint[])
        AND (SELECT count(*) FROM tail JOIN expected USING (position, created_at)) = cardinality(%(positions)s::bigint[])
    ))
), removed AS (
    DELETE FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND EXISTS (SELECT FROM unchanged)
        AND (position IN (SELECT position FROM tail) OR position <= %(prune_to)s)
), thread AS (
    UPDATE {schema}.threads
    SET last_position = last_position + cardinality(%(items)s::text[]), updated_at = clock_timestamp(),
        expires_at = coalesce(now() + lifetime, expires_at)
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND EXISTS (SELECT FROM unchanged)
    RETURNING last_position - cardinality(%(items)s::text[]) AS before
), added AS (
    INSERT INTO {schema}.thread_items (owner, thread_id, position, item)
    SELECT %(owner)s, %(thread_id)s, thread.before + given.place, given.item::json
    FROM thread, unnest(%(items)s::text[]) WITH ORDINALITY AS given (item, place)
)
SELECT before FROM thread;

-- name: list
-- A turn begins with a message of the user.
WITH starts AS (
    SELECT position, item, created_at, lead(position) OVER (ORDER BY position) AS next
    FROM (
        SELECT position, item, created_at
        FROM {schema}.thread_items
        WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND strpos(item::text, '"role":"user"') > 0
            AND {not_expired}
        ORDER BY position DESC
        LIMIT %(limit)s
    ) AS newest
)
SELECT starts.position, starts.item::text, starts.created_at, followed.items,
    used.runs, used.models, used.requests, used.input_tokens, used.cached_tokens, used.output_tokens,
    used.reasoning_tokens, used.total_tokens
FROM starts
CROSS JOIN LATERAL (
    SELECT count(*) AS items
    FROM {schema}.thread_items AS i
    WHERE i.owner = %(owner)s AND i.thread_id = %(thread_id)s
        AND i.position >= starts.position AND (starts.next IS NULL OR i.position < starts.next)
) AS followed
CROSS JOIN LATERAL (
    SELECT count(*) AS runs, array_agg(DISTINCT u.model) FILTER (WHERE u.model IS NOT NULL) AS models,
        sum(u.requests)::bigint AS requests, sum(u.input_tokens)::bigint AS input_tokens,
        sum(u.cached_tokens)::bigint AS cached_tokens, sum(u.output_tokens)::bigint AS output_tokens,
        sum(u.reasoning_tokens)::bigint AS reasoning_tokens, sum(u.total_tokens)::bigint AS total_tokens
    FROM {schema}.run_usage AS u
    WHERE u.owner = %(owner)s AND u.thread_id = %(thread_id)s AND u.position = starts.position
) AS used
ORDER BY starts.position;

-- name: store_usage
-- Of the turn that began last. The lock makes whoever deletes the thread wait, and then see the row. A turn of more than 1,000 items is not looked for, so that a thread without
-- messages, such as one whose items are encrypted, is not read whole.
INSERT INTO {schema}.run_usage AS u (
    owner, thread_id, run_id, position, model,
    requests, input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens
)
SELECT %(owner)s, %(thread_id)s, %(run_id)s, coalesce(
        (
            SELECT i.position
            FROM {schema}.thread_items AS i
            WHERE i.owner = %(owner)s AND i.thread_id = %(thread_id)s AND i.position > t.last_position - 1000
                AND strpos(i.item::text, '"role":"user"') > 0
            ORDER BY i.position DESC
            LIMIT 1
        ),
        t.last_position
    ), %(model)s,
    %(requests)s, %(input_tokens)s, %(cached_tokens)s, %(output_tokens)s, %(reasoning_tokens)s, %(total_tokens)s
FROM {schema}.threads AS t
WHERE t.owner = %(owner)s AND t.thread_id = %(thread_id)s AND (t.expires_at IS NULL OR t.expires_at > now())
FOR KEY SHARE OF t
ON CONFLICT (owner, thread_id, run_id) DO UPDATE
    SET model = excluded.model, requests = excluded.requests, input_tokens = excluded.input_tokens,
        cached_tokens = excluded.cached_tokens, output_tokens = excluded.output_tokens,
        reasoning_tokens = excluded.reasoning_tokens, total_tokens = excluded.total_tokens
RETURNING u.position;

-- name: usage
SELECT count(*), array_agg(DISTINCT model) FILTER (WHERE model IS NOT NULL),
    sum(requests)::bigint, sum(input_tokens)::bigint, sum(cached_tokens)::bigint, sum(output_tokens)::bigint,
    sum(reasoning_tokens)::bigint, sum(total_tokens)::bigint
FROM {schema}.run_usage
WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired};
