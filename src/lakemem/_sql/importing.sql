-- What `lakemem import` writes. Every statement runs in the transaction of one thread, and may run again.

-- name: begin_thread
INSERT INTO {schema}.threads (owner, thread_id, created_at, updated_at)
VALUES (%(owner)s, %(thread_id)s, %(created_at)s, %(updated_at)s)
ON CONFLICT (owner, thread_id) DO NOTHING;

-- name: hold_thread
SELECT last_position FROM {schema}.threads WHERE owner = %(owner)s AND thread_id = %(thread_id)s FOR UPDATE;

-- name: last_mark
SELECT write_id FROM {schema}.applied_writes
WHERE owner = %(owner)s AND write_id BETWEEN %(first)s AND %(last)s
ORDER BY write_id DESC
LIMIT 1;

-- name: mark
INSERT INTO {schema}.applied_writes (owner, write_id) VALUES (%(owner)s, %(write_id)s);

-- name: add_items
INSERT INTO {schema}.thread_items (owner, thread_id, position, item, created_at)
SELECT %(owner)s, %(thread_id)s, %(before)s + given.place, given.item::json, given.at
FROM unnest(%(items)s::text[], %(moments)s::timestamptz[]) WITH ORDINALITY AS given (item, at, place);

-- name: end_thread
UPDATE {schema}.threads
SET last_position = %(last_position)s,
    created_at = least(created_at, %(created_at)s), updated_at = greatest(updated_at, %(updated_at)s)
WHERE owner = %(owner)s AND thread_id = %(thread_id)s;

-- name: add_checkpoints
INSERT INTO {schema}.checkpoints (
    owner, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
    type, checkpoint, channel_versions, metadata, created_at
)
SELECT
    %(owner)s, %(thread_id)s, given.ns, given.id, given.parent_id,
    'json', given.checkpoint, given.versions::jsonb, given.metadata::jsonb, given.at
FROM unnest(
    %(checkpoint_nss)s::text[], %(checkpoint_ids)s::text[], %(parent_ids)s::text[], %(checkpoints)s::bytea[],
    %(versions)s::text[], %(metadata)s::text[], %(moments)s::timestamptz[]
) AS given (ns, id, parent_id, checkpoint, versions, metadata, at)
ON CONFLICT (owner, thread_id, checkpoint_ns, checkpoint_id) DO NOTHING;

-- name: add_blobs
INSERT INTO {schema}.checkpoint_blobs (owner, thread_id, checkpoint_ns, channel, version, type, blob)
SELECT %(owner)s, %(thread_id)s, given.ns, given.channel, given.version, given.type, given.blob
FROM unnest(
    %(checkpoint_nss)s::text[], %(channels)s::text[], %(versions)s::text[], %(types)s::text[], %(blobs)s::bytea[]
) AS given (ns, channel, version, type, blob)
ON CONFLICT (owner, thread_id, checkpoint_ns, channel, version) DO NOTHING;

-- name: add_writes
INSERT INTO {schema}.checkpoint_writes (
    owner, thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
)
SELECT
    %(owner)s, %(thread_id)s, given.ns, given.id, given.task_id, given.task_path,
    given.idx, given.channel, given.type, given.blob
FROM unnest(
    %(checkpoint_nss)s::text[], %(checkpoint_ids)s::text[], %(task_ids)s::text[], %(task_paths)s::text[],
    %(idxs)s::integer[], %(channels)s::text[], %(types)s::text[], %(blobs)s::bytea[]
) AS given (ns, id, task_id, task_path, idx, channel, type, blob)
ON CONFLICT (owner, thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING;

-- name: add_memory
-- A version that was saved when the item was last written, unless this memory was written or deleted since.
WITH known AS MATERIALIZED (
    SELECT max(version) AS version, greatest(max(valid_from), max(valid_to)) AS touched_at
    FROM {schema}.memories
    WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = %(updated_at)s, superseded_by = known.version + 1
    FROM known
    WHERE m.owner = %(owner)s AND m.namespace = %(namespace)s::text[] AND m.key = %(key)s AND m.valid_to IS NULL
        AND known.touched_at < %(updated_at)s
    RETURNING m.version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], %(key)s, coalesce(known.version, 0) + 1, 'save'
    FROM known
    WHERE known.touched_at IS NULL OR known.touched_at < %(updated_at)s
)
INSERT INTO {schema}.memories (
    owner, namespace, key, version, value, text, metadata, embedding, embedding_model, content_hash, expires_at,
    lifetime, valid_from, created_at
)
SELECT
    %(owner)s, %(namespace)s::text[], %(key)s, coalesce(known.version, 0) + 1, %(value)s::json, %(text)s,
    %(metadata)s::jsonb, %(embedding)s::text::{vector}.halfvec, %(embedding_model)s, %(content_hash)s::bytea,
    %(expires_at)s, make_interval(secs => %(ttl)s::float8), %(updated_at)s, %(created_at)s
-- Reading from `closed` makes Postgres close the old version first.
FROM known, (SELECT count(*) FROM closed) AS after_closing
WHERE known.touched_at IS NULL OR known.touched_at < %(updated_at)s;
