-- For each checkpoint `c` of an owner: the values of its channels, the segments of those that are stored by
-- their elements, and the writes that wait. OFFSET 0 keeps the planner, which knows little of a table that grows,
-- from turning a look-up by primary key into a scan of the thread.
LEFT JOIN LATERAL (
    SELECT
        array_agg(b.channel) FILTER (WHERE b.kind IS NULL) AS channels,
        array_agg(b.type) FILTER (WHERE b.kind IS NULL) AS types,
        array_agg(b.blob) FILTER (WHERE b.kind IS NULL) AS blobs,
        array_agg(b.channel) FILTER (WHERE b.kind IS NOT NULL) AS composed,
        array_agg(b.version) FILTER (WHERE b.kind IS NOT NULL) AS composed_versions,
        array_agg(b.kind) FILTER (WHERE b.kind IS NOT NULL) AS kinds,
        array_agg(b.spans::text) FILTER (WHERE b.kind IS NOT NULL) AS spans
    FROM jsonb_each_text(c.channel_versions) AS v
    CROSS JOIN LATERAL (
        SELECT stored.channel, stored.version, stored.type, stored.blob, stored.kind, stored.spans
        FROM {schema}.checkpoint_blobs AS stored
        WHERE stored.owner = %(owner)s AND stored.thread_id = c.thread_id
            AND stored.checkpoint_ns = c.checkpoint_ns
            AND stored.channel = v.key AND stored.version = v.value
        OFFSET 0
    ) AS b
) AS whole ON true
LEFT JOIN LATERAL (
    SELECT
        array_agg(s.channel) AS channels, array_agg(s.position) AS positions,
        array_agg(s.type) AS types, array_agg(s.blob) AS blobs
    FROM unnest(whole.composed, whole.spans) AS named (channel, spans)
    CROSS JOIN LATERAL (
        SELECT range_agg(int8range(bounds[place], bounds[place + 1], '[]')) AS positions
        FROM (SELECT named.spans::bigint[]) AS given (bounds), generate_series(1, cardinality(bounds), 2) AS place
        OFFSET 0
    ) AS wanted
    CROSS JOIN LATERAL (
        -- The segment in which the first span begins.
        SELECT first.position
        FROM {schema}.checkpoint_segments AS first
        WHERE first.owner = %(owner)s AND first.thread_id = c.thread_id
            AND first.checkpoint_ns = c.checkpoint_ns AND first.channel = named.channel
            AND first.position <= lower(wanted.positions)
        ORDER BY first.position DESC
        LIMIT 1
    ) AS beginning
    CROSS JOIN LATERAL (
        SELECT stored.channel, stored.position, stored.type, stored.blob
        FROM {schema}.checkpoint_segments AS stored
        WHERE stored.owner = %(owner)s AND stored.thread_id = c.thread_id
            AND stored.checkpoint_ns = c.checkpoint_ns AND stored.channel = named.channel
            AND stored.position >= beginning.position AND stored.position < upper(wanted.positions)
            AND wanted.positions && int8range(stored.position, stored.position + stored.length)
        OFFSET 0
    ) AS s
) AS segments ON true
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
