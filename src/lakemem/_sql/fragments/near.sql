-- The current facts of the namespace that are `near` a text whose own key is not in use: by the similarity of vectors
-- of one model, or by the share of their words in common. The scan compares vectors and counts words, no more, and what
-- it needs of the text is computed once. Only the nearest are then read word by word.
said AS MATERIALIZED (
    SELECT
        %(embedding)s::text::{vector}.halfvec AS vector, tsvector_to_array(tsv) AS lexemes, length(tsv) AS length,
        -- Of a text that is much longer or shorter, too few words can be the same.
        length(tsv) * %(overlap)s::float8 AS least, length(tsv) / %(overlap)s::float8 AS most
    FROM to_tsvector('pg_catalog.english', %(text)s::text) AS tsv
), counted AS MATERIALIZED (
    SELECT key, version, similarity, common::float8 / nullif(length + (SELECT length FROM said) - common, 0) AS overlap
    FROM (
        SELECT
            key, version, length,
            CASE
                WHEN embedding_model = %(embedding_model)s
                    THEN -(embedding OPERATOR({vector}.<#>) (SELECT vector FROM said))
                WHEN next_embedding_model = %(embedding_model)s
                    THEN -(next_embedding OPERATOR({vector}.<#>) (SELECT vector FROM said))
            END AS similarity,
            CASE WHEN length BETWEEN (SELECT least FROM said) AND (SELECT most FROM said)
                THEN length - length(ts_delete(tsv, (SELECT lexemes FROM said)))
            END AS common
        FROM {schema}.memories
        WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND valid_to IS NULL AND kind = 'fact'
            AND key <> %(key)s AND {alive} AND NOT EXISTS (SELECT FROM held)
        OFFSET 0
    ) AS compared
    WHERE similarity >= %(link)s::float8
        OR common > 0 AND common >= %(overlap)s::float8 * (length + (SELECT length FROM said) - common)
), alike AS MATERIALIZED (
    SELECT m.*, nearest.similarity, nearest.score
    FROM (
        SELECT key, version, similarity, greatest(similarity, overlap) AS score
        FROM counted
        ORDER BY score DESC, key
        LIMIT 8
    ) AS nearest
    CROSS JOIN LATERAL (
        SELECT
            key, version, expires_at, text,
            -- A merge keeps the memory that is there and drops the new one, which must not say anything beside its text.
            metadata @> %(metadata)s::jsonb AND (%(text_says_all)s::boolean OR content_hash = %(content_hash)s::bytea)
                AND (%(occurred_at)s::timestamptz IS NULL OR coalesce(occurred_at = %(occurred_at)s, false))
                AND (%(valid_from)s::timestamptz IS NULL OR valid_from <= %(valid_from)s)
                -- What one said never becomes what another said.
                AND trust = %(trust)s AS says_all
        FROM {schema}.memories
        WHERE owner = %(owner)s AND key = nearest.key AND version = nearest.version
            AND namespace = %(namespace)s::text[]
        LIMIT 1
    ) AS m
), phrased AS MATERIALIZED (
    SELECT m.key, phrase.words, phrase.stems
    FROM (SELECT key, text FROM alike UNION ALL SELECT NULL, %(text)s FROM said WHERE EXISTS (SELECT FROM alike)) AS m
    {phrase}
), near AS MATERIALIZED (
    SELECT
        alike.key, alike.version, alike.expires_at, alike.score,
        alike.says_all AND coalesce(
            theirs.words = ours.words OR theirs.stems = ours.stems AND alike.similarity >= %(merge)s::float8, false
        ) AS is_twin
    FROM alike
        LEFT JOIN phrased AS theirs ON theirs.key = alike.key
        LEFT JOIN phrased AS ours ON ours.key IS NULL
)
