-- What agents have left, taken out and brought back: usage, checkpoints, runs. Bytes are in base64. Whatever the
-- records hold, a batch ends with the one that takes it over so many bytes. What is there already is passed over; where
-- there is something else, the primary key refuses all of it.

-- name: usage
WITH page AS MATERIALIZED (
    SELECT *, sum(100) OVER (
        ORDER BY thread_id, run_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.run_usage AS r
        WHERE r.owner = %(owner)s AND r.thread_id >= %(after_thread_id)s
            AND (thread_id, run_id) > (%(after_thread_id)s, %(after_run_id)s)
            AND NOT EXISTS (
                SELECT FROM {schema}.threads AS t
                WHERE t.owner = %(owner)s AND t.thread_id = r.thread_id AND t.expires_at <= now()
            )
        ORDER BY thread_id, run_id
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'thread_id', thread_id, 'run_id', run_id, 'position', position, 'model', model, 'requests', requests,
    'input_tokens', input_tokens, 'cached_tokens', cached_tokens, 'output_tokens', output_tokens,
    'reasoning_tokens', reasoning_tokens, 'total_tokens', total_tokens, 'created_at', created_at
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, run_id;

-- name: segments
WITH page AS MATERIALIZED (
    SELECT *, sum(octet_length(blob)) OVER (
        ORDER BY thread_id, checkpoint_ns, channel, position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.checkpoint_segments AS r
        WHERE r.owner = %(owner)s AND r.thread_id >= %(after_thread_id)s
            AND (thread_id, checkpoint_ns, channel, position) > (
                %(after_thread_id)s, %(after_checkpoint_ns)s, %(after_channel)s, %(after_position)s::bigint
            )
            AND NOT EXISTS (
                SELECT FROM {schema}.threads AS t
                WHERE t.owner = %(owner)s AND t.thread_id = r.thread_id AND t.expires_at <= now()
            )
        ORDER BY thread_id, checkpoint_ns, channel, position
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'thread_id', thread_id, 'checkpoint_ns', checkpoint_ns, 'channel', channel, 'position', position,
    'length', length, 'type', type, 'blob', translate(encode(blob, 'base64'), E'\n', '')
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, channel, position;

-- name: values
WITH page AS MATERIALIZED (
    SELECT *, sum(coalesce(octet_length(blob), 100)) OVER (
        ORDER BY thread_id, checkpoint_ns, channel, version ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.checkpoint_blobs AS r
        WHERE r.owner = %(owner)s AND r.thread_id >= %(after_thread_id)s
            AND (thread_id, checkpoint_ns, channel, version) > (
                %(after_thread_id)s, %(after_checkpoint_ns)s, %(after_channel)s, %(after_version)s
            )
            AND NOT EXISTS (
                SELECT FROM {schema}.threads AS t
                WHERE t.owner = %(owner)s AND t.thread_id = r.thread_id AND t.expires_at <= now()
            )
        ORDER BY thread_id, checkpoint_ns, channel, version
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'thread_id', thread_id, 'checkpoint_ns', checkpoint_ns, 'channel', channel, 'version', version, 'type', type,
    'blob', translate(encode(blob, 'base64'), E'\n', ''), 'elements', kind, 'spans', spans
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, channel, version;

-- name: checkpoints
WITH page AS MATERIALIZED (
    SELECT *, sum(octet_length(checkpoint)) OVER (
        ORDER BY thread_id, checkpoint_ns, checkpoint_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.checkpoints AS r
        WHERE r.owner = %(owner)s AND r.thread_id >= %(after_thread_id)s
            AND (thread_id, checkpoint_ns, checkpoint_id) > (
                %(after_thread_id)s, %(after_checkpoint_ns)s, %(after_checkpoint_id)s
            )
            AND NOT EXISTS (
                SELECT FROM {schema}.threads AS t
                WHERE t.owner = %(owner)s AND t.thread_id = r.thread_id AND t.expires_at <= now()
            )
        ORDER BY thread_id, checkpoint_ns, checkpoint_id
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'thread_id', thread_id, 'checkpoint_ns', checkpoint_ns, 'checkpoint_id', checkpoint_id,
    'parent_checkpoint_id', parent_checkpoint_id, 'type', type,
    'checkpoint', translate(encode(checkpoint, 'base64'), E'\n', ''), 'channel_versions', channel_versions,
    'metadata', metadata, 'created_at', created_at
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, checkpoint_id;

-- name: writes
WITH page AS MATERIALIZED (
    SELECT *, sum(octet_length(blob)) OVER (
        ORDER BY thread_id, checkpoint_ns, checkpoint_id, task_id, idx ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.checkpoint_writes AS r
        WHERE r.owner = %(owner)s AND r.thread_id >= %(after_thread_id)s
            AND (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) > (
                %(after_thread_id)s, %(after_checkpoint_ns)s, %(after_checkpoint_id)s, %(after_task_id)s,
                %(after_idx)s::integer
            )
            AND NOT EXISTS (
                SELECT FROM {schema}.threads AS t
                WHERE t.owner = %(owner)s AND t.thread_id = r.thread_id AND t.expires_at <= now()
            )
        ORDER BY thread_id, checkpoint_ns, checkpoint_id, task_id, idx
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'thread_id', thread_id, 'checkpoint_ns', checkpoint_ns, 'checkpoint_id', checkpoint_id, 'task_id', task_id,
    'idx', idx, 'task_path', task_path, 'channel', channel, 'type', type,
    'blob', translate(encode(blob, 'base64'), E'\n', '')
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, checkpoint_id, task_id, idx;

-- name: runs
WITH page AS MATERIALIZED (
    SELECT *, sum(octet_length(request) + coalesce(octet_length(output), 0)) OVER (
        ORDER BY run_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.runs AS r
        WHERE r.owner = %(owner)s AND r.run_id >= %(after_run_id)s
            AND (run_id) > (%(after_run_id)s)
        ORDER BY run_id
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'run_id', run_id, 'thread_id', thread_id, 'previous_run_id', previous_run_id, 'run_kind', kind,
    'background', background, 'status', status, 'request', request::json, 'output', output::json,
    'question', question::json, 'answer', answer::json, 'metadata', metadata, 'error_code', error_code,
    'error_message', error_message, 'idempotency_key', idempotency_key, 'attempt', attempt, 'uncounted', uncounted,
    'max_attempts', max_attempts, 'asked_by', asked_by, 'first_sequence', first_sequence,
    'last_sequence', last_sequence, 'cancel_requested_at', cancel_requested_at, 'waiting_since', waiting_since,
    'deadline', deadline, 'created_at', created_at, 'started_at', started_at, 'completed_at', completed_at
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY run_id;

-- name: run_events
WITH page AS MATERIALIZED (
    SELECT *, sum(octet_length(event)) OVER (
        ORDER BY run_id, sequence_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT * FROM {schema}.run_events AS r
        WHERE r.owner = %(owner)s AND r.run_id >= %(after_run_id)s
            AND (run_id, sequence_number) > (%(after_run_id)s, %(after_sequence_number)s::bigint)
        ORDER BY run_id, sequence_number
        LIMIT %(limit)s
    ) AS next
)
SELECT json_build_object(
    'run_id', run_id, 'sequence_number', sequence_number, 'attempt', attempt, 'event', event::json
)::text
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY run_id, sequence_number;

-- name: put_usage
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        thread_id text, run_id text, position bigint, model text, requests bigint, input_tokens bigint,
        cached_tokens bigint, output_tokens bigint, reasoning_tokens bigint, total_tokens bigint, created_at timestamptz
    )
), added AS (
    INSERT INTO {schema}.run_usage (
        owner, thread_id, run_id, position, model, requests, input_tokens, cached_tokens, output_tokens,
        reasoning_tokens, total_tokens, created_at
    )
    SELECT
        %(owner)s, given.thread_id, given.run_id, given.position, given.model, given.requests, given.input_tokens,
        given.cached_tokens, given.output_tokens, given.reasoning_tokens, given.total_tokens, given.created_at
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.run_usage AS r
        WHERE r.owner = %(owner)s AND r.thread_id = given.thread_id AND r.run_id = given.run_id
            AND r.created_at = given.created_at
    )
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: put_segments
-- Positions that are taken are not given again.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        thread_id text, checkpoint_ns text, channel text, position bigint, length integer, type text, blob text
    )
), added AS (
    INSERT INTO {schema}.checkpoint_segments (
        owner, thread_id, checkpoint_ns, channel, position, length, type, blob
    )
    SELECT
        %(owner)s, given.thread_id, given.checkpoint_ns, given.channel, given.position, given.length, given.type,
        decode(given.blob, 'base64')
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.checkpoint_segments AS r
        WHERE r.owner = %(owner)s AND r.thread_id = given.thread_id AND r.checkpoint_ns = given.checkpoint_ns
            AND r.channel = given.channel AND r.position = given.position
            AND r.length = given.length AND r.blob = decode(given.blob, 'base64')
    )
    RETURNING 1
), positions AS (
    INSERT INTO {schema}.checkpoint_positions AS p (owner, thread_id, checkpoint_ns, channel, last_position)
    SELECT %(owner)s, thread_id, checkpoint_ns, channel, max(position + length - 1)
    FROM given
    GROUP BY thread_id, checkpoint_ns, channel
    ON CONFLICT (owner, thread_id, checkpoint_ns, channel) DO UPDATE
        SET last_position = greatest(p.last_position, excluded.last_position)
)
SELECT count(*) FROM added;

-- name: put_values
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        thread_id text, checkpoint_ns text, channel text, version text, type text, blob text, elements text,
        spans bigint[]
    )
), added AS (
    INSERT INTO {schema}.checkpoint_blobs (
        owner, thread_id, checkpoint_ns, channel, version, type, blob, kind, spans
    )
    SELECT
        %(owner)s, given.thread_id, given.checkpoint_ns, given.channel, given.version, given.type,
        decode(given.blob, 'base64'), given.elements, given.spans
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.checkpoint_blobs AS r
        WHERE r.owner = %(owner)s AND r.thread_id = given.thread_id AND r.checkpoint_ns = given.checkpoint_ns
            AND r.channel = given.channel AND r.version = given.version
            AND r.blob IS NOT DISTINCT FROM decode(given.blob, 'base64') AND r.spans IS NOT DISTINCT FROM given.spans
    )
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: put_checkpoints
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text, type text, checkpoint text,
        channel_versions text, metadata text, created_at timestamptz
    )
), added AS (
    INSERT INTO {schema}.checkpoints (
        owner, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, channel_versions,
        metadata, created_at
    )
    SELECT
        %(owner)s, given.thread_id, given.checkpoint_ns, given.checkpoint_id, given.parent_checkpoint_id, given.type,
        decode(given.checkpoint, 'base64'), given.channel_versions::jsonb, given.metadata::jsonb, given.created_at
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.checkpoints AS r
        WHERE r.owner = %(owner)s AND r.thread_id = given.thread_id AND r.checkpoint_ns = given.checkpoint_ns
            AND r.checkpoint_id = given.checkpoint_id
            AND r.checkpoint = decode(given.checkpoint, 'base64')
    )
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: put_writes
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, idx integer, task_path text, channel text,
        type text, blob text
    )
), added AS (
    INSERT INTO {schema}.checkpoint_writes (
        owner, thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, channel, type, blob
    )
    SELECT
        %(owner)s, given.thread_id, given.checkpoint_ns, given.checkpoint_id, given.task_id, given.idx,
        given.task_path, given.channel, given.type, decode(given.blob, 'base64')
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.checkpoint_writes AS r
        WHERE r.owner = %(owner)s AND r.thread_id = given.thread_id AND r.checkpoint_ns = given.checkpoint_ns
            AND r.checkpoint_id = given.checkpoint_id AND r.task_id = given.task_id AND r.idx = given.idx
            AND r.blob = decode(given.blob, 'base64')
    )
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: put_runs
-- What was under way is not begun again by whoever reads an archive.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        run_id text, thread_id text, previous_run_id text, run_kind text, background boolean, status text, request text,
        output text, question text, answer text, metadata text, error_code text, error_message text,
        idempotency_key text, attempt integer, uncounted integer, max_attempts integer, asked_by integer,
        first_sequence bigint, last_sequence bigint, cancel_requested_at timestamptz, waiting_since timestamptz,
        deadline timestamptz, created_at timestamptz, started_at timestamptz, completed_at timestamptz
    )
), added AS (
    INSERT INTO {schema}.runs (
        owner, run_id, thread_id, previous_run_id, kind, background, status, request, output, question, answer,
        metadata, error_code, error_message, idempotency_key, attempt, uncounted, max_attempts, asked_by,
        first_sequence, last_sequence, cancel_requested_at, waiting_since, deadline, created_at, started_at,
        completed_at
    )
    SELECT
        %(owner)s, given.run_id, given.thread_id, given.previous_run_id, given.run_kind, given.background,
        CASE WHEN given.status IN ('queued', 'in_progress') THEN 'cancelled' ELSE given.status END,
        given.request, given.output, given.question, given.answer, given.metadata::jsonb, given.error_code,
        given.error_message, given.idempotency_key, given.attempt, given.uncounted, given.max_attempts, given.asked_by,
        given.first_sequence, given.last_sequence, given.cancel_requested_at, given.waiting_since, given.deadline,
        given.created_at, given.started_at,
        CASE WHEN given.status IN ('queued', 'in_progress') THEN clock_timestamp() ELSE given.completed_at END
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.runs AS r
        WHERE r.owner = %(owner)s AND r.run_id = given.run_id
            AND r.created_at = given.created_at
    )
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: put_run_events
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS given (
        run_id text, sequence_number bigint, attempt integer, event text
    )
), added AS (
    INSERT INTO {schema}.run_events (
        owner, run_id, sequence_number, attempt, event
    )
    SELECT
        %(owner)s, given.run_id, given.sequence_number, given.attempt, given.event
    FROM given
    WHERE NOT EXISTS (
        SELECT FROM {schema}.run_events AS r
        WHERE r.owner = %(owner)s AND r.run_id = given.run_id AND r.sequence_number = given.sequence_number
            AND r.attempt = given.attempt
    )
    RETURNING 1
)
SELECT count(*) FROM added;
