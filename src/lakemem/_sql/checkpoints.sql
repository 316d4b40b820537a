-- LangGraph's checkpoints. A checkpoint is stored without the values of its channels; each value is stored once
-- for each version of its channel, and found again by primary key. A large value is stored by its elements, and
-- then only those that are new.

-- name: put
-- The rows follow the thread's: where that has expired, it is emptied first.
WITH thread AS (
    INSERT INTO {schema}.threads AS t (owner, thread_id) VALUES (%(owner)s, %(thread_id)s)
    ON CONFLICT (owner, thread_id) DO UPDATE SET {renewal}
    RETURNING thread_id
), blobs AS (
    INSERT INTO {schema}.checkpoint_blobs (owner, thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(owner)s, thread.thread_id, %(checkpoint_ns)s, given.channel, given.version, given.type, given.blob
    FROM thread
    CROSS JOIN unnest(
        %(channels)s::text[], %(versions)s::text[], %(types)s::text[], %(blobs)s::bytea[]
    ) AS given (channel, version, type, blob)
    ON CONFLICT (owner, thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO {schema}.checkpoints (
    owner, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
    type, checkpoint, channel_versions, metadata
)
SELECT
    %(owner)s, thread.thread_id, %(checkpoint_ns)s, %(checkpoint_id)s, %(parent_checkpoint_id)s,
    %(type)s, %(checkpoint)s, %(channel_versions)s::jsonb, %(metadata)s::jsonb
FROM thread
ON CONFLICT (owner, thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
    SET type = excluded.type, checkpoint = excluded.checkpoint,
        channel_versions = excluded.channel_versions, metadata = excluded.metadata;

-- name: put_composed
-- The same, with values that are stored by their elements. A negative bound of a span counts the new elements,
-- which get their positions here. Nothing is written where a version that is used again is gone: it is locked
-- behind the thread, so that no pruning takes it away in the meantime.
WITH thread AS (
    INSERT INTO {schema}.threads AS t (owner, thread_id) VALUES (%(owner)s, %(thread_id)s)
    ON CONFLICT (owner, thread_id) DO UPDATE SET {renewal}
    RETURNING thread_id
), reused AS (
    SELECT stored.channel
    FROM thread
    CROSS JOIN unnest(
        %(reused_channels)s::text[], %(reused_versions)s::text[], %(reused_spans)s::text[]
    ) AS given (channel, version, spans)
    CROSS JOIN LATERAL (
        SELECT b.channel
        FROM {schema}.checkpoint_blobs AS b
        WHERE b.owner = %(owner)s AND b.thread_id = thread.thread_id AND b.checkpoint_ns = %(checkpoint_ns)s
            AND b.channel = given.channel AND b.version = given.version AND b.spans = given.spans::bigint[]
        FOR KEY SHARE
    ) AS stored
), accepted AS (
    SELECT thread_id FROM thread
    WHERE (SELECT count(*) FROM reused) = cardinality(%(reused_channels)s::text[])
), added AS (
    SELECT given.*
    FROM accepted
    CROSS JOIN unnest(
        %(added_channels)s::text[], %(added_counts)s::integer[], %(added_types)s::text[], %(added_blobs)s::bytea[]
    ) AS given (channel, length, type, blob)
), positions AS (
    INSERT INTO {schema}.checkpoint_positions AS p (owner, thread_id, checkpoint_ns, channel, last_position)
    SELECT %(owner)s, %(thread_id)s, %(checkpoint_ns)s, added.channel, added.length
    FROM added
    ON CONFLICT (owner, thread_id, checkpoint_ns, channel) DO UPDATE
        SET last_position = p.last_position + excluded.last_position
    RETURNING p.channel, p.last_position
), segments AS (
    INSERT INTO {schema}.checkpoint_segments (
        owner, thread_id, checkpoint_ns, channel, position, length, type, blob
    )
    SELECT
        %(owner)s, %(thread_id)s, %(checkpoint_ns)s, added.channel,
        positions.last_position - added.length + 1, added.length, added.type, added.blob
    FROM added JOIN positions ON positions.channel = added.channel
    RETURNING channel, position - 1 AS before
), composed AS (
    SELECT given.channel, given.version, given.kind, given.spans::bigint[] AS spans, coalesce(segments.before, 0) AS before
    FROM accepted
    CROSS JOIN unnest(
        %(composed_channels)s::text[], %(composed_versions)s::text[], %(kinds)s::text[], %(spans)s::text[]
    ) AS given (channel, version, kind, spans)
    LEFT JOIN segments ON segments.channel = given.channel
), composed_versions AS (
    INSERT INTO {schema}.checkpoint_blobs (owner, thread_id, checkpoint_ns, channel, version, kind, spans)
    SELECT
        %(owner)s, %(thread_id)s, %(checkpoint_ns)s, composed.channel, composed.version, composed.kind,
        ARRAY(
            SELECT CASE WHEN bound < 0 THEN composed.before - bound ELSE bound END
            FROM unnest(composed.spans) WITH ORDINALITY AS given (bound, place)
            ORDER BY place
        )
    FROM composed
    ON CONFLICT (owner, thread_id, checkpoint_ns, channel, version) DO NOTHING
), blobs AS (
    INSERT INTO {schema}.checkpoint_blobs (owner, thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(owner)s, %(thread_id)s, %(checkpoint_ns)s, given.channel, given.version, given.type, given.blob
    FROM accepted
    CROSS JOIN unnest(
        %(channels)s::text[], %(versions)s::text[], %(types)s::text[], %(blobs)s::bytea[]
    ) AS given (channel, version, type, blob)
    ON CONFLICT (owner, thread_id, checkpoint_ns, channel, version) DO NOTHING
), checkpoint AS (
    INSERT INTO {schema}.checkpoints (
        owner, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
        type, checkpoint, channel_versions, metadata
    )
    SELECT
        %(owner)s, %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(parent_checkpoint_id)s,
        %(type)s, %(checkpoint)s, %(channel_versions)s::jsonb, %(metadata)s::jsonb
    FROM accepted
    ON CONFLICT (owner, thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
        SET type = excluded.type, checkpoint = excluded.checkpoint,
            channel_versions = excluded.channel_versions, metadata = excluded.metadata
)
SELECT channel, before FROM composed;

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
SELECT {checkpoint_columns}
FROM {schema}.checkpoints AS c
{checkpoint_parts}
WHERE c.owner = %(owner)s AND c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id = %(checkpoint_id)s AND {not_expired};

-- name: latest
SELECT {checkpoint_columns}
FROM (
    SELECT *
    FROM {schema}.checkpoints
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s AND {not_expired}
    ORDER BY checkpoint_id DESC
    LIMIT 1
) AS c
{checkpoint_parts};

-- name: list
-- A page, the newest first, from behind the last one of the page before. A parameter that is NULL does not filter.
SELECT {checkpoint_columns}
FROM (
    SELECT *
    FROM {schema}.checkpoints AS candidate
    WHERE candidate.owner = %(owner)s
        AND (%(thread_id)s::text IS NULL OR candidate.thread_id = %(thread_id)s)
        AND (%(checkpoint_ns)s::text IS NULL OR candidate.checkpoint_ns = %(checkpoint_ns)s)
        AND (%(checkpoint_id)s::text IS NULL OR candidate.checkpoint_id = %(checkpoint_id)s)
        AND (%(before)s::text IS NULL OR candidate.checkpoint_id < %(before)s COLLATE "C")
        AND candidate.metadata @> %(filter)s::jsonb
        AND NOT EXISTS (
            SELECT FROM {schema}.threads AS t
            WHERE t.owner = %(owner)s AND t.thread_id = candidate.thread_id AND t.expires_at <= now()
        )
        AND (%(after_id)s::text IS NULL
            OR (candidate.checkpoint_id, candidate.thread_id, candidate.checkpoint_ns)
                < (%(after_id)s COLLATE "C", %(after_thread)s COLLATE "C", %(after_ns)s COLLATE "C"))
    ORDER BY candidate.checkpoint_id DESC, candidate.thread_id DESC, candidate.checkpoint_ns DESC
    LIMIT %(limit)s
) AS c
{checkpoint_parts}
ORDER BY c.checkpoint_id DESC, c.thread_id DESC, c.checkpoint_ns DESC;

-- name: take
-- Of two callers one gets it. It has neither values nor writes that would be left.
DELETE FROM {schema}.checkpoints
WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
    AND checkpoint_id = %(checkpoint_id)s AND {not_expired}
RETURNING type, checkpoint;

-- name: delete_thread
SELECT {schema}.remove_checkpoints(%(owner)s, %(thread_id)s);
