-- Long-term memory.

-- name: save
-- A new version: the current one is closed, and the audit log says so. The caller holds the lock on this key.
WITH moment AS MATERIALIZED (
    -- After the lock, so that versions follow each other in time; never before the version that it closes.
    SELECT
        greatest(clock_timestamp(), max(valid_from) + interval '1 microsecond') AS at, coalesce(max(version), 0) AS latest
    FROM (
        SELECT version, valid_from FROM {schema}.memories
        WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s
        ORDER BY version DESC
        LIMIT 1
    ) AS last
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = moment.at, superseded_by = moment.latest + 1
    FROM moment
    WHERE m.owner = %(owner)s AND m.namespace = %(namespace)s::text[] AND m.key = %(key)s AND m.valid_to IS NULL
    RETURNING CASE WHEN m.expires_at IS NULL OR m.expires_at > moment.at THEN m.created_at END AS created_at
), saved AS (
    INSERT INTO {schema}.memories (
        owner, namespace, key, version, value, text, metadata, embedding, embedding_model, content_hash,
        importance, thread_id, position, occurred_at, expires_at, valid_from, created_at
    )
    SELECT
        %(owner)s, %(namespace)s::text[], %(key)s, moment.latest + 1, %(value)s::json, %(text)s,
        %(metadata)s::jsonb, %(embedding)s::text::{vector}.halfvec, %(embedding_model)s, %(content_hash)s::bytea,
        %(importance)s, %(thread_id)s, %(position)s, %(occurred_at)s,
        moment.at + make_interval(secs => %(expires_in)s::float8), moment.at, coalesce(before.created_at, moment.at)
    -- Reading from `closed` makes Postgres close the old version first.
    FROM moment, (SELECT max(created_at) AS created_at FROM closed) AS before
    RETURNING version, valid_from, expires_at
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], %(key)s, version, 'save' FROM saved
)
SELECT version, valid_from, expires_at FROM saved;

-- name: update
-- A new version that takes over what is not given. No row comes back where there is no current version.
WITH moment AS MATERIALIZED (
    SELECT greatest(clock_timestamp(), max(valid_from) + interval '1 microsecond') AS at, max(version) AS latest
    FROM (
        SELECT version, valid_from FROM {schema}.memories
        WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s
        ORDER BY version DESC
        LIMIT 1
    ) AS last
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = moment.at, superseded_by = moment.latest + 1
    FROM moment
    WHERE m.owner = %(owner)s AND m.namespace = %(namespace)s::text[] AND m.key = %(key)s AND m.valid_to IS NULL
        AND (m.expires_at IS NULL OR m.expires_at > moment.at)
        AND (%(expected_version)s::bigint IS NULL OR m.version = %(expected_version)s)
    RETURNING m.*
), saved AS (
    INSERT INTO {schema}.memories (
        owner, namespace, key, version, value, text, metadata, embedding, embedding_model, content_hash,
        importance, thread_id, position, occurred_at, expires_at, lifetime, valid_from, created_at
    )
    SELECT
        old.owner, old.namespace, old.key, moment.latest + 1,
        coalesce(%(value)s::json, old.value), coalesce(%(text)s, old.text),
        coalesce(%(metadata)s::jsonb, old.metadata),
        CASE WHEN %(text)s::text IS NULL THEN old.embedding ELSE %(embedding)s::text::{vector}.halfvec END,
        CASE WHEN %(text)s::text IS NULL THEN old.embedding_model ELSE %(embedding_model)s END,
        coalesce(%(content_hash)s::bytea, old.content_hash),
        old.importance, old.thread_id, old.position, old.occurred_at,
        coalesce(moment.at + make_interval(secs => %(expires_in)s::float8), old.expires_at),
        CASE WHEN %(expires_in)s::float8 IS NULL THEN old.lifetime END, moment.at, old.created_at
    FROM closed AS old, moment
    RETURNING *
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT owner, namespace, key, version, 'update' FROM saved
)
SELECT
    namespace, key, value::text, text, metadata::text, version, valid_from, valid_to,
    occurred_at, expires_at, embedding IS NOT NULL
FROM saved;

-- name: get
SELECT
    namespace, key, value::text, text, metadata::text, version, valid_from, valid_to,
    occurred_at, expires_at, embedding IS NOT NULL
FROM {schema}.memories
WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s AND valid_to IS NULL
    AND (expires_at IS NULL OR expires_at > now());

-- name: items
SELECT
    namespace, key, value::text, text, metadata::text, version, valid_from, valid_to,
    occurred_at, expires_at, embedding IS NOT NULL
FROM {schema}.memories
WHERE owner = %(owner)s AND valid_to IS NULL AND (expires_at IS NULL OR expires_at > now())
    AND namespace[1:cardinality(%(namespace)s::text[])] = %(namespace)s::text[]
    AND metadata @> %(filter)s::jsonb AND {matches}
ORDER BY valid_from DESC, namespace, key
LIMIT %(limit)s OFFSET %(offset)s;

-- name: delete
-- The current version is closed; what was true before stays in the history until it is erased.
WITH closed AS (
    UPDATE {schema}.memories
    SET valid_to = greatest(clock_timestamp(), valid_from + interval '1 microsecond')
    WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s AND valid_to IS NULL
        AND (expires_at IS NULL OR expires_at > now())
    RETURNING version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], %(key)s, version, 'delete' FROM closed
)
SELECT version FROM closed;

-- name: erase
-- Every version goes, for good.
WITH erased AS (
    DELETE FROM {schema}.memories
    WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s
    RETURNING version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], %(key)s, max(version), 'erase' FROM erased HAVING count(*) > 0
)
SELECT max(version) FROM erased HAVING count(*) > 0;

-- name: search
-- Both arms in one statement. The dense arm compares the question with every current memory of the scope; the
-- lexical arm adds up the rarity of the question's words that stand in a memory. Each arm is scaled to 0..1
-- within the scope, and they count the same. Every step is MATERIALIZED: inlined, a step runs once a row.
WITH terms AS MATERIALIZED (
    SELECT lexeme, quote_literal(lexeme)::tsquery AS query
    FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', %(query)s))) AS lexeme
), scope AS MATERIALIZED (
    SELECT
        namespace, key, version, tsv,
        CASE WHEN embedding_model = %(embedding_model)s
            THEN -(embedding OPERATOR({vector}.<#>) %(embedding)s::text::{vector}.halfvec)
        END AS similarity
    FROM {schema}.memories
    WHERE owner = %(owner)s AND valid_to IS NULL AND (expires_at IS NULL OR expires_at > now())
        AND namespace[1:cardinality(%(namespace)s::text[])] = %(namespace)s::text[]
        AND metadata @> %(filter)s::jsonb AND {matches}
), matches AS MATERIALIZED (
    SELECT s.namespace, s.key, t.lexeme
    FROM scope AS s JOIN terms AS t ON s.tsv @@ t.query
), rarity AS MATERIALIZED (
    SELECT lexeme, ln(1 + ((SELECT count(*) FROM scope) - count(*) + 0.5) / (count(*) + 0.5)) AS weight
    FROM matches GROUP BY lexeme
), worded AS MATERIALIZED (
    SELECT namespace, key, sum(weight) AS weight, array_agg(lexeme ORDER BY weight DESC, lexeme) AS terms
    FROM matches JOIN rarity USING (lexeme)
    GROUP BY namespace, key
), scored AS MATERIALIZED (
    SELECT
        s.namespace, s.key, s.version, s.similarity, w.terms,
        CASE WHEN s.similarity IS NOT NULL THEN coalesce(
            (s.similarity - min(s.similarity) OVER everything)
            / nullif(max(s.similarity) OVER everything - min(s.similarity) OVER everything, 0), 1)
        END AS dense,
        w.weight / max(w.weight) OVER everything AS lexical
    FROM scope AS s LEFT JOIN worded AS w USING (namespace, key)
    WINDOW everything AS ()
), best AS MATERIALIZED (
    SELECT *, (coalesce(dense, 0) + coalesce(lexical, 0)) / %(arms)s AS score
    FROM scored
    WHERE (dense IS NOT NULL OR lexical IS NOT NULL)
        -- Where one side has no vector, nothing is known of the similarity: then the words alone decide.
        AND (%(min_similarity)s::float8 IS NULL OR coalesce(similarity >= %(min_similarity)s, true))
    ORDER BY score DESC, namespace, key
    LIMIT %(limit)s
)
SELECT
    m.namespace, m.key, m.value::text, m.text, m.metadata::text, m.version, m.valid_from, m.valid_to,
    m.occurred_at, m.expires_at, m.embedding IS NOT NULL,
    best.score::float8, best.similarity::float8, best.dense::float8, best.lexical::float8, best.terms
FROM best
JOIN {schema}.memories AS m ON m.owner = %(owner)s
    AND m.namespace = best.namespace AND m.key = best.key AND m.version = best.version
ORDER BY best.score DESC, best.namespace, best.key;
