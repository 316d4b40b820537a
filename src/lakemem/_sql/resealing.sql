-- What is stored, to be encrypted, or encrypted anew: page by page, in the order of the primary key. A row is replaced only
-- where it is still as it was read. `copied` says that the rows were copied to another thread in the same transaction,
-- where they cannot be read before each of them is encrypted for its new place.

-- name: items
SELECT thread_id, position, item
FROM (
    SELECT *, sum(octet_length(item)) OVER (
        ORDER BY thread_id, position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT thread_id, position, item::text AS item
        FROM {schema}.thread_items
        WHERE owner = %(owner)s AND thread_id >= %(after_thread_id)s AND thread_id <= %(to_thread_id)s
            AND (thread_id, position) > (%(after_thread_id)s, %(after_position)s::bigint)
        ORDER BY thread_id, position
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, position;

-- name: replace_items
WITH replaced AS (
    UPDATE {schema}.thread_items AS t
    SET item = given.new_item::json
    FROM unnest(
        %(thread_ids)s::text[], %(positions)s::bigint[], %(old_items)s::text[], %(items)s::text[]
    ) AS given (
        thread_id, position, old_item, new_item
    )
    WHERE t.owner = %(owner)s
        AND t.thread_id = given.thread_id AND t.position = given.position AND t.item::text = given.old_item
    RETURNING 1
)
SELECT count(*), {schema}.check_resealed(NOT %(copied)s OR count(*) = (
    SELECT count(*) FROM {schema}.thread_items
    WHERE owner = %(owner)s AND thread_id = %(target_id)s AND xmin = pg_current_xact_id()::xid
))
FROM replaced;

-- name: checkpoints
SELECT thread_id, checkpoint_ns, checkpoint_id, type, checkpoint
FROM (
    SELECT *, sum(octet_length(checkpoint)) OVER (
        ORDER BY thread_id, checkpoint_ns, checkpoint_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT thread_id, checkpoint_ns, checkpoint_id, type, checkpoint
        FROM {schema}.checkpoints
        WHERE owner = %(owner)s AND thread_id >= %(after_thread_id)s AND thread_id <= %(to_thread_id)s
            AND (thread_id, checkpoint_ns, checkpoint_id) > (%(after_thread_id)s, %(after_checkpoint_ns)s, %(after_checkpoint_id)s)
        ORDER BY thread_id, checkpoint_ns, checkpoint_id
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, checkpoint_id;

-- name: replace_checkpoints
WITH replaced AS (
    UPDATE {schema}.checkpoints AS t
    SET type = given.new_type, checkpoint = given.new_checkpoint
    FROM unnest(
        %(thread_ids)s::text[], %(checkpoint_nss)s::text[], %(checkpoint_ids)s::text[],
        %(old_checkpoints)s::bytea[], %(types)s::text[], %(checkpoints)s::bytea[]
    ) AS given (
        thread_id, checkpoint_ns, checkpoint_id, old_checkpoint, new_type, new_checkpoint
    )
    WHERE t.owner = %(owner)s
        AND t.thread_id = given.thread_id AND t.checkpoint_ns = given.checkpoint_ns AND t.checkpoint_id =
            given.checkpoint_id AND t.checkpoint = given.old_checkpoint
    RETURNING 1
)
SELECT count(*), {schema}.check_resealed(NOT %(copied)s OR count(*) = (
    SELECT count(*) FROM {schema}.checkpoints
    WHERE owner = %(owner)s AND thread_id = %(target_id)s AND xmin = pg_current_xact_id()::xid
))
FROM replaced;

-- name: values
SELECT thread_id, checkpoint_ns, channel, version, type, blob
FROM (
    SELECT *, sum(octet_length(blob)) OVER (
        ORDER BY thread_id, checkpoint_ns, channel, version ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT thread_id, checkpoint_ns, channel, version, type, blob
        FROM {schema}.checkpoint_blobs
        WHERE owner = %(owner)s AND thread_id >= %(after_thread_id)s AND thread_id <= %(to_thread_id)s AND blob IS NOT NULL
            AND (thread_id, checkpoint_ns, channel, version) > (%(after_thread_id)s, %(after_checkpoint_ns)s, %(after_channel)s, %(after_version)s)
        ORDER BY thread_id, checkpoint_ns, channel, version
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, channel, version;

-- name: replace_values
WITH replaced AS (
    UPDATE {schema}.checkpoint_blobs AS t
    SET type = given.new_type, blob = given.new_blob
    FROM unnest(
        %(thread_ids)s::text[], %(checkpoint_nss)s::text[], %(channels)s::text[], %(versions)s::text[],
        %(old_blobs)s::bytea[], %(types)s::text[], %(blobs)s::bytea[]
    ) AS given (
        thread_id, checkpoint_ns, channel, version, old_blob, new_type, new_blob
    )
    WHERE t.owner = %(owner)s
        AND t.thread_id = given.thread_id AND t.checkpoint_ns = given.checkpoint_ns AND t.channel =
            given.channel AND t.version = given.version AND t.blob = given.old_blob
    RETURNING 1
)
SELECT count(*), {schema}.check_resealed(NOT %(copied)s OR count(*) = (
    SELECT count(*) FROM {schema}.checkpoint_blobs
    WHERE owner = %(owner)s AND thread_id = %(target_id)s AND xmin = pg_current_xact_id()::xid AND blob IS NOT NULL
))
FROM replaced;

-- name: segments
SELECT thread_id, checkpoint_ns, channel, position, type, blob
FROM (
    SELECT *, sum(octet_length(blob)) OVER (
        ORDER BY thread_id, checkpoint_ns, channel, position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT thread_id, checkpoint_ns, channel, position, type, blob
        FROM {schema}.checkpoint_segments
        WHERE owner = %(owner)s AND thread_id >= %(after_thread_id)s AND thread_id <= %(to_thread_id)s
            AND (thread_id, checkpoint_ns, channel, position) > (%(after_thread_id)s, %(after_checkpoint_ns)s, %(after_channel)s, %(after_position)s::bigint)
        ORDER BY thread_id, checkpoint_ns, channel, position
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, channel, position;

-- name: replace_segments
WITH replaced AS (
    UPDATE {schema}.checkpoint_segments AS t
    SET type = given.new_type, blob = given.new_blob
    FROM unnest(
        %(thread_ids)s::text[], %(checkpoint_nss)s::text[], %(channels)s::text[], %(positions)s::bigint[],
        %(old_blobs)s::bytea[], %(types)s::text[], %(blobs)s::bytea[]
    ) AS given (
        thread_id, checkpoint_ns, channel, position, old_blob, new_type, new_blob
    )
    WHERE t.owner = %(owner)s
        AND t.thread_id = given.thread_id AND t.checkpoint_ns = given.checkpoint_ns AND t.channel =
            given.channel AND t.position = given.position AND t.blob = given.old_blob
    RETURNING 1
)
SELECT count(*), {schema}.check_resealed(NOT %(copied)s OR count(*) = (
    SELECT count(*) FROM {schema}.checkpoint_segments
    WHERE owner = %(owner)s AND thread_id = %(target_id)s AND xmin = pg_current_xact_id()::xid
))
FROM replaced;

-- name: writes
SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob
FROM (
    SELECT *, sum(octet_length(blob)) OVER (
        ORDER BY thread_id, checkpoint_ns, checkpoint_id, task_id, idx ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob
        FROM {schema}.checkpoint_writes
        WHERE owner = %(owner)s AND thread_id >= %(after_thread_id)s AND thread_id <= %(to_thread_id)s
            AND (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) > (%(after_thread_id)s, %(after_checkpoint_ns)s, %(after_checkpoint_id)s, %(after_task_id)s, %(after_idx)s::integer)
        ORDER BY thread_id, checkpoint_ns, checkpoint_id, task_id, idx
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, checkpoint_ns, checkpoint_id, task_id, idx;

-- name: replace_writes
WITH replaced AS (
    UPDATE {schema}.checkpoint_writes AS t
    SET type = given.new_type, blob = given.new_blob
    FROM unnest(
        %(thread_ids)s::text[], %(checkpoint_nss)s::text[], %(checkpoint_ids)s::text[], %(task_ids)s::text[],
        %(idxs)s::integer[], %(old_blobs)s::bytea[], %(types)s::text[], %(blobs)s::bytea[]
    ) AS given (
        thread_id, checkpoint_ns, checkpoint_id, task_id, idx, old_blob, new_type, new_blob
    )
    WHERE t.owner = %(owner)s
        AND t.thread_id = given.thread_id AND t.checkpoint_ns = given.checkpoint_ns AND t.checkpoint_id =
            given.checkpoint_id AND t.task_id = given.task_id AND t.idx = given.idx AND t.blob = given.old_blob
    RETURNING 1
)
SELECT count(*), {schema}.check_resealed(NOT %(copied)s OR count(*) = (
    SELECT count(*) FROM {schema}.checkpoint_writes
    WHERE owner = %(owner)s AND thread_id = %(target_id)s AND xmin = pg_current_xact_id()::xid
))
FROM replaced;

-- name: quarantine
SELECT quarantine_id, draft
FROM (
    SELECT *, sum(octet_length(draft)) OVER (
        ORDER BY quarantine_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT quarantine_id, draft::text AS draft
        FROM {schema}.quarantine
        WHERE owner = %(owner)s AND quarantine_id >= %(after_quarantine_id)s
            AND (quarantine_id) > (%(after_quarantine_id)s)
        ORDER BY quarantine_id
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY quarantine_id;

-- name: replace_quarantine
WITH replaced AS (
    UPDATE {schema}.quarantine AS t
    SET draft = given.new_draft::json
    FROM unnest(
        %(quarantine_ids)s::text[], %(old_drafts)s::text[], %(drafts)s::text[]
    ) AS given (
        quarantine_id, old_draft, new_draft
    )
    WHERE t.owner = %(owner)s
        AND t.quarantine_id = given.quarantine_id AND t.draft::text = given.old_draft
    RETURNING 1
)
SELECT count(*) FROM replaced;

-- name: memories
SELECT key, version, namespace, value, text
FROM (
    SELECT *, sum(octet_length(value) + octet_length(text)) OVER (
        ORDER BY key, version, namespace ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM (
        SELECT key, version, namespace, value::text AS value, text
        FROM {schema}.memories
        WHERE owner = %(owner)s AND key >= %(after_key)s
            AND (key, version, namespace) > (%(after_key)s, %(after_version)s::bigint, %(after_namespace)s::text[])
        ORDER BY key, version, namespace
        LIMIT %(limit)s
    ) AS next
) AS page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY key, version, namespace;

-- name: replace_memories
-- Vectors and times stay as they are: the memory says what it said.
WITH replaced AS (
    UPDATE {schema}.memories AS t
    SET value = given.new_value::json, text = given.new_text, content_hash = given.content_hash
    FROM unnest(
        %(keys)s::text[], %(versions)s::bigint[], %(namespaces)s::text[], %(old_values)s::text[], %(old_texts)s::text[],
        %(values)s::text[], %(texts)s::text[], %(content_hashes)s::bytea[]
    ) AS given (key, version, namespace, old_value, old_text, new_value, new_text, content_hash)
    WHERE t.owner = %(owner)s AND t.key = given.key AND t.version = given.version
        AND t.namespace = given.namespace::text[] AND t.value::text = given.old_value AND t.text = given.old_text
    RETURNING 1
), words AS (
    -- Of what was in clear. A search that meets a large scope asks for the index anew.
    DELETE FROM {schema}.indexed_words WHERE owner = %(owner)s AND EXISTS (SELECT FROM replaced)
), index AS (
    DELETE FROM {schema}.indexes WHERE owner = %(owner)s AND EXISTS (SELECT FROM replaced)
)
SELECT count(*) FROM replaced;
