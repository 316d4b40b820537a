-- LangGraph's checkpoints. A checkpoint is stored without the values of its channels; each value is stored once
-- for each version of its channel, and found again by primary key.

-- name: put
WITH thread AS (
    INSERT INTO {schema}.threads (owner, thread_id) VALUES (%(owner)s, %(thread_id)s)
    ON CONFLICT (owner, thread_id) DO UPDATE SET updated_at = clock_timestamp()
), blobs AS (
    INSERT INTO {schema}.checkpoint_blobs (owner, thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(owner)s, %(thread_id)s, %(checkpoint_ns)s, given.channel, given.version, given.type, given.blob
    FROM unnest(
        %(channels)s::text[], %(versions)s::text[], %(types)s::text[], %(blobs)s::bytea[]
    ) AS given (channel, version, type, blob)
    ON CONFLICT (owner, thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO {schema}.checkpoints (
    owner, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
    type, checkpoint, channel_versions, metadata
)
VALUES (
    %(owner)s, %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(parent_checkpoint_id)s,
    %(type)s, %(checkpoint)s, %(channel_versions)s::jsonb, %(metadata)s::jsonb
)
ON CONFLICT (owner, thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
    SET type = excluded.type, checkpoint = excluded.checkpoint,
        channel_versions = excluded.channel_versions, metadata = excluded.metadata;

-- name: put_writes
-- What a task wrote stays as it was first written. Errors, interrupts and resumes have negative indices: the
-- latest counts.
INSERT INTO {schema}.checkpoint_writes AS stored (
    owner, thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
)
SELECT
    %(owner)s, %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(task_id)s, %(task_path)s,
    given.idx, given.channel, given.type, given.blob
FROM unnest(
    %(idxs)s::integer[], %(channels)s::text[], %(types)s::text[], %(blobs)s::bytea[]
) AS given (idx, channel, type, blob)
ON CONFLICT (owner, thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE
    SET task_path = excluded.task_path, channel = excluded.channel, type = excluded.type, blob = excluded.blob
    WHERE stored.idx < 0;

-- name: get
-- The checkpoint with this id, or the newest where the id is NULL.
SELECT
    c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.type, c.checkpoint,
    c.metadata::text, blobs.channels, blobs.types, blobs.blobs,
    writes.tasks, writes.channels, writes.types, writes.blobs
FROM {schema}.checkpoints AS c
LEFT JOIN LATERAL (
    SELECT array_agg(b.channel) AS channels, array_agg(b.type) AS types, array_agg(b.blob) AS blobs
    FROM jsonb_each_text(c.channel_versions) AS v
    CROSS JOIN LATERAL (
        SELECT stored.channel, stored.type, stored.blob
        FROM {schema}.checkpoint_blobs AS stored
        WHERE stored.owner = %(owner)s AND stored.thread_id = c.thread_id
            AND stored.checkpoint_ns = c.checkpoint_ns
            AND stored.channel = v.key AND stored.version = v.value
        LIMIT 1
    ) AS b
) AS blobs ON true
LEFT JOIN LATERAL (
    SELECT
        array_agg(w.task_id ORDER BY w.task_path, w.task_id, w.idx) AS tasks,
        array_agg(w.channel ORDER BY w.task_path, w.task_id, w.idx) AS channels,
        array_agg(w.type ORDER BY w.task_path, w.task_id, w.idx) AS types,
        array_agg(w.blob ORDER BY w.task_path, w.task_id, w.idx) AS blobs
    FROM {schema}.checkpoint_writes AS w
    WHERE w.owner = %(owner)s AND w.thread_id = c.thread_id
        AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id
) AS writes ON true
WHERE c.owner = %(owner)s AND c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id = coalesce(%(checkpoint_id)s, (
        SELECT max(newest.checkpoint_id) FROM {schema}.checkpoints AS newest
        WHERE newest.owner = %(owner)s AND newest.thread_id = %(thread_id)s
            AND newest.checkpoint_ns = %(checkpoint_ns)s
    ));

-- name: list
-- Newest first. A parameter that is NULL does not filter.
SELECT
    c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.type, c.checkpoint,
    c.metadata::text, blobs.channels, blobs.types, blobs.blobs,
    writes.tasks, writes.channels, writes.types, writes.blobs
FROM (
    SELECT *
    FROM {schema}.checkpoints AS candidate
    WHERE candidate.owner = %(owner)s
        AND (%(thread_id)s::text IS NULL OR candidate.thread_id = %(thread_id)s)
        AND (%(checkpoint_ns)s::text IS NULL OR candidate.checkpoint_ns = %(checkpoint_ns)s)
        AND (%(checkpoint_id)s::text IS NULL OR candidate.checkpoint_id = %(checkpoint_id)s)
        AND (%(before)s::text IS NULL OR candidate.checkpoint_id < %(before)s COLLATE "C")
        AND candidate.metadata @> %(filter)s::jsonb
    ORDER BY candidate.checkpoint_id DESC
    LIMIT %(limit)s
) AS c
LEFT JOIN LATERAL (
    SELECT array_agg(b.channel) AS channels, array_agg(b.type) AS types, array_agg(b.blob) AS blobs
    FROM jsonb_each_text(c.channel_versions) AS v
    CROSS JOIN LATERAL (
        SELECT stored.channel, stored.type, stored.blob
        FROM {schema}.checkpoint_blobs AS stored
        WHERE stored.owner = %(owner)s AND stored.thread_id = c.thread_id
            AND stored.checkpoint_ns = c.checkpoint_ns
            AND stored.channel = v.key AND stored.version = v.value
        LIMIT 1
    ) AS b
) AS blobs ON true
LEFT JOIN LATERAL (
    SELECT
        array_agg(w.task_id ORDER BY w.task_path, w.task_id, w.idx) AS tasks,
        array_agg(w.channel ORDER BY w.task_path, w.task_id, w.idx) AS channels,
        array_agg(w.type ORDER BY w.task_path, w.task_id, w.idx) AS types,
        array_agg(w.blob ORDER BY w.task_path, w.task_id, w.idx) AS blobs
    FROM {schema}.checkpoint_writes AS w
    WHERE w.owner = %(owner)s AND w.thread_id = c.thread_id
        AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id
) AS writes ON true
ORDER BY c.checkpoint_id DESC;

-- name: delete_thread
WITH writes AS (
    DELETE FROM {schema}.checkpoint_writes WHERE owner = %(owner)s AND thread_id = %(thread_id)s
), blobs AS (
    DELETE FROM {schema}.checkpoint_blobs WHERE owner = %(owner)s AND thread_id = %(thread_id)s
)
DELETE FROM {schema}.checkpoints WHERE owner = %(owner)s AND thread_id = %(thread_id)s;
