-- What is taken out of an owner's memories, and what comes back in.

-- name: memories
-- The versions behind a place, in the order of the primary key. Whatever they hold, a batch ends with the one that
-- takes it over so many bytes. The first condition alone can use the index behind row-level security.
WITH page AS MATERIALIZED (
    SELECT
        *, sum(octet_length(value::text) + octet_length(text)) OVER (
            ORDER BY key, version, namespace ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM (
        SELECT *
        FROM {schema}.memories
        WHERE owner = %(owner)s AND (expires_at IS NULL OR expires_at > now())
            AND key >= %(after_key)s
            AND (key, version, namespace) > (%(after_key)s, %(after_version)s::bigint, %(after_namespace)s::text[])
        ORDER BY key, version, namespace
        LIMIT %(limit)s
    ) AS next
)
SELECT
    namespace, key, version, kind, value::text, text, metadata::text, importance::text::float8,
    said_importance::text::float8, thread_id, position, occurred_at, sources, similar_to, expires_at,
    extract(epoch FROM lifetime)::float8, created_at, valid_from, valid_to, superseded_by, trust,
    CASE WHEN %(with_vectors)s::boolean THEN embedding::text END,
    CASE WHEN %(with_vectors)s::boolean THEN embedding_model END
FROM page
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY key, version, namespace;

-- name: make_room
-- Threads of these ids that have expired are as if they had never been.
WITH removed AS (
    DELETE FROM {schema}.threads
    WHERE owner = %(owner)s AND thread_id = ANY (%(thread_ids)s::text[]) AND expires_at <= now()
    RETURNING thread_id
)
SELECT count({schema}.empty_thread(%(owner)s, thread_id)) FROM removed;

-- name: put_threads
-- A thread that is there stays as it is.
WITH added AS (
    INSERT INTO {schema}.threads (
        owner, thread_id, title, metadata, created_at, updated_at, expires_at, lifetime, forked_from, forked_position,
        last_position
    )
    SELECT
        %(owner)s, given.thread_id, given.title, given.metadata::jsonb, given.created_at, given.updated_at,
        given.expires_at, make_interval(secs => given.lifetime), given.forked_from, given.forked_position,
        given.last_position
    FROM unnest(
        %(thread_ids)s::text[], %(titles)s::text[], %(metadatas)s::text[], %(created_ats)s::timestamptz[],
        %(updated_ats)s::timestamptz[], %(expires_ats)s::timestamptz[], %(lifetimes)s::float8[],
        %(forked_froms)s::text[], %(forked_positions)s::bigint[], %(last_positions)s::bigint[]
    ) AS given (
        thread_id, title, metadata, created_at, updated_at, expires_at, lifetime, forked_from, forked_position,
        last_position
    )
    ON CONFLICT (owner, thread_id) DO NOTHING
    RETURNING thread_id
)
SELECT count(*) FROM added;

-- name: put_items
-- An item that is there already is passed over; where there is another one, the primary key refuses all of it.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(thread_ids)s::text[], %(positions)s::bigint[], %(items)s::text[], %(created_ats)s::timestamptz[]
    ) AS given (thread_id, position, item, created_at)
), thread AS (
    -- Its row is where those who append wait, and no position is given twice.
    UPDATE {schema}.threads AS t
    SET last_position = greatest(t.last_position, reached.position)
    FROM (SELECT thread_id, max(position) AS position FROM given GROUP BY thread_id) AS reached
    WHERE t.owner = %(owner)s AND t.thread_id = reached.thread_id
    RETURNING t.thread_id
), added AS (
    INSERT INTO {schema}.thread_items (owner, thread_id, position, item, created_at)
    SELECT %(owner)s, given.thread_id, given.position, given.item::json, given.created_at
    FROM given JOIN thread USING (thread_id)
    WHERE NOT EXISTS (
        SELECT FROM {schema}.thread_items AS i
        WHERE i.owner = %(owner)s AND i.thread_id = given.thread_id AND i.position = given.position
            -- JSON of other libraries may be written with other spaces. What has an escape may not be read as jsonb.
            AND CASE
                WHEN i.item::text = given.item THEN true
                WHEN strpos(i.item::text, '\u') > 0 OR strpos(given.item, '\u') > 0 THEN false
                ELSE i.item::jsonb = given.item::jsonb
            END
    )
    RETURNING position
)
SELECT count(*) FROM added;

-- name: put_memories
-- A version that is there already is passed over, and closed where it has been superseded since; where there is another
-- one, the primary key refuses all of it. The caller holds the locks on the keys.
WITH given AS MATERIALIZED (
    SELECT
        namespace_text::text[] AS namespace, sources_text::text[] AS sources, similar_to_text::text[] AS similar_to,
        given.*
    FROM unnest(
        %(namespaces)s::text[], %(sources)s::text[], %(similar_tos)s::text[], %(keys)s::text[], %(versions)s::bigint[],
        %(memory_kinds)s::text[], %(values)s::text[], %(texts)s::text[], %(metadatas)s::text[], %(importances)s::real[],
        %(said_importances)s::real[], %(thread_ids)s::text[], %(positions)s::bigint[],
        %(occurred_ats)s::timestamptz[], %(expires_ats)s::timestamptz[], %(lifetimes)s::float8[],
        %(created_ats)s::timestamptz[], %(valid_froms)s::timestamptz[], %(valid_tos)s::timestamptz[],
        %(superseded_bys)s::bigint[], %(trusts)s::text[], %(embeddings)s::text[], %(embedding_models)s::text[],
        %(content_hashes)s::bytea[]
    ) AS given (
        namespace_text, sources_text, similar_to_text, key, version, kind, value, text, metadata, importance,
        said_importance, thread_id, position, occurred_at, expires_at, lifetime, created_at, valid_from, valid_to,
        superseded_by, trust, embedding, embedding_model, content_hash
    )
), known AS MATERIALIZED (
    SELECT m.key, m.version, m.namespace
    FROM given
    JOIN {schema}.memories AS m
        ON m.owner = %(owner)s AND m.key = given.key AND m.version = given.version AND m.namespace = given.namespace
    WHERE m.content_hash = given.content_hash AND m.valid_from = given.valid_from
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = given.valid_to, superseded_by = given.superseded_by
    FROM known JOIN given USING (key, version, namespace)
    WHERE m.owner = %(owner)s AND m.key = given.key AND m.version = given.version AND m.namespace = given.namespace
        AND m.valid_to IS NULL AND given.valid_to IS NOT NULL
    RETURNING m.key
), added AS (
    INSERT INTO {schema}.memories (
        owner, namespace, key, version, kind, value, text, metadata, importance, said_importance, thread_id, position,
        occurred_at, sources, similar_to, expires_at, lifetime, created_at, valid_from, valid_to, superseded_by,
        content_hash, trust, embedding, embedding_model
    )
    SELECT
        %(owner)s, given.namespace, given.key, given.version, given.kind, given.value::json, given.text,
        given.metadata::jsonb, given.importance, given.said_importance, given.thread_id, given.position,
        given.occurred_at, given.sources, given.similar_to, given.expires_at, make_interval(secs => given.lifetime),
        given.created_at, given.valid_from, given.valid_to, given.superseded_by,
        given.content_hash, given.trust,
        given.embedding::{vector}.halfvec, given.embedding_model
    -- Reading from `closed` makes Postgres close versions first.
    FROM given CROSS JOIN (SELECT count(*) FROM closed) AS after_closing
    WHERE NOT EXISTS (
        SELECT FROM known
        WHERE known.key = given.key AND known.version = given.version AND known.namespace = given.namespace
    )
    RETURNING namespace, key, version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'save' FROM added
)
SELECT (SELECT count(*) FROM added) + (SELECT count(*) FROM closed);
