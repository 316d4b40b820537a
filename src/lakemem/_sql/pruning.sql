-- Removing, copying and following the history of a thread's checkpoints. What removes or copies holds the thread's
-- row first (`threads.hold`), so that it sees what was stored, and no checkpoint is stored in the meantime.

-- name: prune
-- Keeps the newest checkpoint of each namespace, and those that one of the given rules keeps; of a subgraph's call,
-- only where the graph's checkpoint that it belongs to is kept. A delta channel is rebuilt from the writes of earlier
-- checkpoints, back to the one that has its value: these are kept, too.
WITH RECURSIVE candidates AS MATERIALIZED (
    SELECT
        checkpoint_ns, checkpoint_id, parent_checkpoint_id, channel_versions, metadata, created_at,
        row_number() OVER newest AS rank, lag(metadata ->> 'source') OVER newest AS next_source
    FROM {schema}.checkpoints
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s
    WINDOW newest AS (PARTITION BY checkpoint_ns ORDER BY checkpoint_id DESC)
), wanted AS MATERIALIZED (
    SELECT *
    FROM candidates
    WHERE rank <= greatest(%(newest)s::bigint, 1)
        OR (%(turn_ends)s::boolean AND next_source = 'input')
        OR created_at > now() - make_interval(secs => %(younger_than)s::float8)
), reachable AS MATERIALIZED (
    SELECT *
    FROM wanted
    WHERE position(':' IN checkpoint_ns) = 0 OR NOT coalesce(metadata -> 'parents' ? '', false) OR EXISTS (
        SELECT FROM wanted AS root
        WHERE root.checkpoint_ns = '' AND root.checkpoint_id = wanted.metadata #>> '{{parents,""}}'
    )
), history AS (
    SELECT reachable.checkpoint_ns, reachable.parent_checkpoint_id AS checkpoint_id, delta.channel
    FROM reachable
    CROSS JOIN LATERAL jsonb_object_keys(reachable.metadata -> 'counters_since_delta_snapshot') AS delta (channel)
    WHERE NOT reachable.channel_versions ? delta.channel
    UNION
    SELECT history.checkpoint_ns, earlier.parent_checkpoint_id, history.channel
    FROM history
    CROSS JOIN LATERAL (
        SELECT c.parent_checkpoint_id, c.channel_versions
        FROM {schema}.checkpoints AS c
        WHERE c.owner = %(owner)s AND c.thread_id = %(thread_id)s
            AND c.checkpoint_ns = history.checkpoint_ns AND c.checkpoint_id = history.checkpoint_id
        OFFSET 0
    ) AS earlier
    WHERE NOT earlier.channel_versions ? history.channel
), unwanted AS MATERIALIZED (
    SELECT checkpoint_ns, checkpoint_id FROM candidates
    EXCEPT SELECT checkpoint_ns, checkpoint_id FROM reachable
    EXCEPT SELECT checkpoint_ns, checkpoint_id FROM history
    ORDER BY checkpoint_id
    LIMIT %(limit)s
), dropped AS (
    DELETE FROM {schema}.checkpoints AS c
    USING unwanted
    WHERE c.owner = %(owner)s AND c.thread_id = %(thread_id)s
        AND c.checkpoint_ns = unwanted.checkpoint_ns AND c.checkpoint_id = unwanted.checkpoint_id
    RETURNING c.checkpoint_ns, c.checkpoint_id
), writes AS (
    DELETE FROM {schema}.checkpoint_writes AS w
    USING dropped
    WHERE w.owner = %(owner)s AND w.thread_id = %(thread_id)s
        AND w.checkpoint_ns = dropped.checkpoint_ns AND w.checkpoint_id = dropped.checkpoint_id
)
SELECT changed.count, {schema}.remove_unused_values(%(owner)s, %(thread_id)s)
FROM (SELECT count(*) FROM dropped) AS changed (count)
WHERE changed.count > 0;

-- name: hold_runs
SELECT FROM {schema}.threads
WHERE owner = %(owner)s AND thread_id IN (
    SELECT thread_id FROM {schema}.checkpoints
    WHERE owner = %(owner)s AND metadata ->> 'run_id' = ANY (%(run_ids)s::text[])
)
ORDER BY thread_id
FOR UPDATE;

-- name: delete_for_runs
-- Nothing is removed where a checkpoint that stays needs the writes of one of these runs, to rebuild a delta channel.
WITH RECURSIVE doomed AS MATERIALIZED (
    SELECT thread_id, checkpoint_ns, checkpoint_id
    FROM {schema}.checkpoints
    WHERE owner = %(owner)s AND metadata ->> 'run_id' = ANY (%(run_ids)s::text[])
), history AS (
    SELECT c.thread_id, c.checkpoint_ns, c.parent_checkpoint_id AS checkpoint_id, delta.channel
    FROM {schema}.checkpoints AS c
    CROSS JOIN LATERAL jsonb_object_keys(c.metadata -> 'counters_since_delta_snapshot') AS delta (channel)
    WHERE c.owner = %(owner)s AND c.thread_id = ANY (ARRAY(SELECT thread_id FROM doomed))
        AND NOT (c.metadata ->> 'run_id' = ANY (%(run_ids)s::text[])) IS TRUE
        AND NOT c.channel_versions ? delta.channel
    UNION
    SELECT history.thread_id, history.checkpoint_ns, earlier.parent_checkpoint_id, history.channel
    FROM history
    CROSS JOIN LATERAL (
        SELECT c.parent_checkpoint_id, c.channel_versions
        FROM {schema}.checkpoints AS c
        WHERE c.owner = %(owner)s AND c.thread_id = history.thread_id
            AND c.checkpoint_ns = history.checkpoint_ns AND c.checkpoint_id = history.checkpoint_id
        OFFSET 0
    ) AS earlier
    WHERE NOT earlier.channel_versions ? history.channel
), needed AS MATERIALIZED (
    SELECT count(*) FROM history JOIN doomed USING (thread_id, checkpoint_ns, checkpoint_id)
), dropped AS (
    DELETE FROM {schema}.checkpoints AS c
    USING doomed
    WHERE c.owner = %(owner)s AND c.thread_id = doomed.thread_id
        AND c.checkpoint_ns = doomed.checkpoint_ns AND c.checkpoint_id = doomed.checkpoint_id
        AND (SELECT count FROM needed) = 0
    RETURNING c.thread_id, c.checkpoint_ns, c.checkpoint_id
), writes AS (
    DELETE FROM {schema}.checkpoint_writes AS w
    USING dropped
    WHERE w.owner = %(owner)s AND w.thread_id = dropped.thread_id
        AND w.checkpoint_ns = dropped.checkpoint_ns AND w.checkpoint_id = dropped.checkpoint_id
), changed AS MATERIALIZED (
    SELECT DISTINCT thread_id FROM dropped
)
SELECT needed.count, (SELECT count({schema}.remove_unused_values(%(owner)s, thread_id)) FROM changed)
FROM needed;

-- name: copy
-- Nothing is copied onto a thread that has checkpoints, unless it has expired and is emptied here.
WITH source AS MATERIALIZED (
    SELECT thread_id FROM {schema}.threads
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND {not_expired}
        AND EXISTS (SELECT FROM {schema}.checkpoints WHERE owner = %(owner)s AND thread_id = %(thread_id)s)
), taken AS MATERIALIZED (
    SELECT FROM source
    WHERE EXISTS (SELECT FROM {schema}.checkpoints WHERE owner = %(owner)s AND thread_id = %(target_id)s)
        AND NOT EXISTS (
            SELECT FROM {schema}.threads
            WHERE owner = %(owner)s AND thread_id = %(target_id)s AND expires_at <= now()
        )
), target AS (
    INSERT INTO {schema}.threads AS t (owner, thread_id)
    SELECT %(owner)s, %(target_id)s FROM source WHERE NOT EXISTS (SELECT FROM taken)
    ON CONFLICT (owner, thread_id) DO UPDATE SET {renewal}
    RETURNING thread_id
), checkpoints AS (
    INSERT INTO {schema}.checkpoints (
        owner, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
        type, checkpoint, channel_versions, metadata, created_at
    )
    SELECT
        c.owner, target.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
        c.type, c.checkpoint, c.channel_versions, c.metadata, c.created_at
    FROM target, {schema}.checkpoints AS c
    WHERE c.owner = %(owner)s AND c.thread_id = %(thread_id)s
), blobs AS (
    INSERT INTO {schema}.checkpoint_blobs (
        owner, thread_id, checkpoint_ns, channel, version, type, blob, kind, spans
    )
    SELECT
        b.owner, target.thread_id, b.checkpoint_ns, b.channel, b.version, b.type, b.blob, b.kind, b.spans
    FROM target, {schema}.checkpoint_blobs AS b
    WHERE b.owner = %(owner)s AND b.thread_id = %(thread_id)s
), segments AS (
    INSERT INTO {schema}.checkpoint_segments (
        owner, thread_id, checkpoint_ns, channel, position, length, type, blob
    )
    SELECT
        s.owner, target.thread_id, s.checkpoint_ns, s.channel, s.position, s.length, s.type, s.blob
    FROM target, {schema}.checkpoint_segments AS s
    WHERE s.owner = %(owner)s AND s.thread_id = %(thread_id)s
), positions AS (
    INSERT INTO {schema}.checkpoint_positions (owner, thread_id, checkpoint_ns, channel, last_position)
    SELECT p.owner, target.thread_id, p.checkpoint_ns, p.channel, p.last_position
    FROM target, {schema}.checkpoint_positions AS p
    WHERE p.owner = %(owner)s AND p.thread_id = %(thread_id)s
), writes AS (
    INSERT INTO {schema}.checkpoint_writes (
        owner, thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, channel, type, blob
    )
    SELECT
        w.owner, target.thread_id, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.idx, w.task_path,
        w.channel, w.type, w.blob
    FROM target, {schema}.checkpoint_writes AS w
    WHERE w.owner = %(owner)s AND w.thread_id = %(thread_id)s
)
SELECT EXISTS (SELECT FROM source), EXISTS (SELECT FROM taken);

-- name: history
-- The ancestors of a checkpoint (of the newest where the id is NULL) from the nearest on, each with the writes to it and those of its values that are
-- still looked for. The search for a channel ends with the ancestor that has its value.
WITH RECURSIVE path AS (
    SELECT 1 AS depth, c.parent_checkpoint_id AS checkpoint_id, %(channels)s::text[] AS channels
    FROM (
        SELECT checkpoint_id, parent_checkpoint_id
        FROM {schema}.checkpoints
        WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
            AND (%(checkpoint_id)s::text IS NULL OR checkpoint_id <= %(checkpoint_id)s COLLATE "C") AND {not_expired}
        ORDER BY checkpoint_id DESC
        LIMIT 1
    ) AS c
    WHERE %(checkpoint_id)s::text IS NULL OR c.checkpoint_id = %(checkpoint_id)s
    UNION ALL
    SELECT path.depth + 1, earlier.parent_checkpoint_id, missing.channels
    FROM path
    CROSS JOIN LATERAL (
        SELECT c.parent_checkpoint_id, c.channel_versions
        FROM {schema}.checkpoints AS c
        WHERE c.owner = %(owner)s AND c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
            AND c.checkpoint_id = path.checkpoint_id
        OFFSET 0
    ) AS earlier
    CROSS JOIN LATERAL (
        SELECT array_agg(channel) FROM unnest(path.channels) AS channel WHERE NOT earlier.channel_versions ? channel
    ) AS missing (channels)
    WHERE missing.channels IS NOT NULL
)
SELECT {checkpoint_columns}
FROM (
    SELECT path.depth, k.*, sought.versions AS channel_versions
    FROM path
    CROSS JOIN LATERAL (
        SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata,
            channel_versions AS all_versions
        FROM {schema}.checkpoints
        WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
            AND checkpoint_id = path.checkpoint_id
        OFFSET 0
    ) AS k
    CROSS JOIN LATERAL (
        SELECT coalesce(jsonb_object_agg(channel, k.all_versions -> channel), '{{}}')
        FROM unnest(path.channels) AS channel
        WHERE k.all_versions ? channel
    ) AS sought (versions)
) AS c
{checkpoint_parts}
ORDER BY c.depth;
