-- What `lakemem import` reads. `{schema}` is the schema of the source; nothing in it is written.

-- name: columns
SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = %(schema)s;

-- name: session_count
SELECT count(*) FROM {schema}.{sessions};

-- name: sessions
-- Their times are in the time zone in which the source writes them, by default that of its role and database.
SELECT session_id, created_at::timestamptz, updated_at::timestamptz FROM {schema}.{sessions} ORDER BY session_id;

-- name: messages
SELECT id::bigint, message_data, created_at::timestamptz
FROM {schema}.{messages}
WHERE session_id = %(thread_id)s AND id > %(after)s
ORDER BY id;

-- name: thread_count
SELECT count(DISTINCT thread_id) FROM {schema}.checkpoints;

-- name: threads
SELECT
    thread_id, min(checkpoint ->> 'ts'), max(checkpoint ->> 'ts'),
    array_remove(array_agg(DISTINCT metadata ->> %(user_key)s), NULL)
FROM {schema}.checkpoints
GROUP BY thread_id
ORDER BY thread_id;

-- name: checkpoints
SELECT
    c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
    (c.checkpoint || jsonb_build_object('channel_values', CASE
        WHEN jsonb_typeof(c.checkpoint -> 'channel_values') = 'object' THEN c.checkpoint -> 'channel_values'
        ELSE '{{}}'
    END))::text,
    -- The versions of those channels whose values are stored apart.
    (
        SELECT coalesce(jsonb_object_agg(v.key, v.value), '{{}}')::text
        FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
        WHERE EXISTS (
            SELECT FROM {schema}.checkpoint_blobs AS b
            WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
                AND b.channel = v.key AND b.version = v.value AND b.type <> 'empty'
        )
    ),
    c.metadata::text, c.checkpoint ->> 'ts'
FROM {schema}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s
ORDER BY c.checkpoint_ns, c.checkpoint_id;

-- name: blobs
SELECT checkpoint_ns, channel, version, type, blob
FROM {schema}.checkpoint_blobs
WHERE thread_id = %(thread_id)s AND type <> 'empty';

-- name: writes
SELECT checkpoint_ns, checkpoint_id, task_id, {task_path}, idx, channel, coalesce(type, ''), blob
FROM {schema}.checkpoint_writes
WHERE thread_id = %(thread_id)s;

-- name: prefix_count
SELECT count(DISTINCT prefix) FROM {schema}.store;

-- name: prefixes
SELECT DISTINCT prefix FROM {schema}.store ORDER BY prefix;

-- name: items
SELECT
    i.key, i.value::text, coalesce(i.created_at, i.updated_at, 'epoch'), coalesce(i.updated_at, i.created_at, 'epoch'),
    {expires_at}, {ttl_minutes}::float8, {vector}
FROM {schema}.store AS i
WHERE i.prefix = %(prefix)s
ORDER BY i.key;

-- name: mem0_owner_count
SELECT count(*)
FROM (
    SELECT DISTINCT
        nullif(payload ->> 'user_id', ''),
        CASE WHEN nullif(payload ->> 'user_id', '') IS NULL THEN nullif(payload ->> 'agent_id', '') END
    FROM {schema}.{mem0}
) AS owners;

-- name: mem0_owners
-- What has no user is an agent's own.
SELECT DISTINCT
    nullif(payload ->> 'user_id', '') AS user_id,
    CASE WHEN nullif(payload ->> 'user_id', '') IS NULL THEN nullif(payload ->> 'agent_id', '') END AS agent_id
FROM {schema}.{mem0}
ORDER BY user_id, agent_id;

-- name: mem0_memories
SELECT id::text, payload::text, {vector}
FROM {schema}.{mem0}
WHERE nullif(payload ->> 'user_id', '') IS NOT DISTINCT FROM %(user_id)s
    AND (%(user_id)s::text IS NOT NULL OR nullif(payload ->> 'agent_id', '') IS NOT DISTINCT FROM %(agent_id)s)
ORDER BY id;

-- name: vector
-- The one vector of an item, or that of the whole value where there are several.
(
    SELECT CASE
        WHEN count(*) = 1 THEN min(v.embedding::text)
        ELSE min(v.embedding::text) FILTER (WHERE v.field_name = '$')
    END
    FROM {schema}.store_vectors AS v
    WHERE v.prefix = i.prefix AND v.key = i.key
);
