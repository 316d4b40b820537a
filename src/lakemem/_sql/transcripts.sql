-- What was said in all threads of an owner: finding it, and taking it out.

-- name: search
-- From cheap to costly: items that hold the beginning of a word asked for at all; among these, those whose text
-- does; and of these the likeliest are cut into words, and ranked by how rare the words are.
WITH question AS MATERIALIZED (
    SELECT
        array_agg(lexeme) AS lexemes,
        array_agg('%%' || regexp_replace(beginning, '([%%_\\])', '\\\1', 'g') || '%%') AS anywhere,
        array_agg('\m' || regexp_replace(beginning, '(\W)', '\\\1', 'g')) AS patterns
    FROM (
        -- A word begins with its stem, but for the ends that the stemmer exchanges: happy, happi; ability, abl.
        SELECT lexeme, regexp_replace(lexeme, '(?:bl|[iey]+)$', '') AS beginning
        FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', %(query)s))) AS lexeme
    ) AS word
), candidates AS MATERIALIZED (
    SELECT i.thread_id, i.position, i.created_at, i.item
    FROM question CROSS JOIN {schema}.thread_items AS i
    WHERE i.owner = %(owner)s
        AND i.thread_id NOT IN (
            SELECT t.thread_id FROM {schema}.threads AS t WHERE t.owner = %(owner)s AND t.expires_at <= now()
        )
        -- An escape may be a letter.
        AND (lower(i.item::text) LIKE ANY (question.anywhere) OR strpos(i.item::text, '\u') > 0)
), found AS MATERIALIZED (
    SELECT i.thread_id, i.position, i.created_at, asked.lexeme
    FROM question
    CROSS JOIN candidates AS i
    CROSS JOIN LATERAL (SELECT lower({item_text}) AS text OFFSET 0) AS said
    CROSS JOIN LATERAL unnest(question.lexemes, question.patterns) AS asked (lexeme, pattern)
    WHERE said.text ~ asked.pattern
), rarity AS MATERIALIZED (
    SELECT asked.lexeme, ln(1 + (whole.items - count(found.lexeme) + 0.5) / (count(found.lexeme) + 0.5)) AS weight
    FROM (SELECT unnest(lexemes) FROM question) AS asked (lexeme)
    CROSS JOIN (SELECT count(*) FROM {schema}.thread_items WHERE owner = %(owner)s) AS whole (items)
    LEFT JOIN found USING (lexeme)
    GROUP BY asked.lexeme, whole.items
), likeliest AS MATERIALIZED (
    SELECT thread_id, position, created_at
    FROM found JOIN rarity USING (lexeme)
    GROUP BY thread_id, position, created_at
    ORDER BY sum(weight) DESC, created_at DESC, thread_id, position
    LIMIT %(ranked)s
), ranked AS MATERIALIZED (
    SELECT likeliest.*, (
        SELECT sum(weight) FROM rarity WHERE words.tsv @@ quote_literal(lexeme)::tsquery
    ) AS weight
    FROM likeliest
    JOIN {schema}.thread_items AS i
        ON i.owner = %(owner)s AND i.thread_id = likeliest.thread_id AND i.position = likeliest.position
    CROSS JOIN LATERAL (
        SELECT to_tsvector('pg_catalog.english', left({item_text}, %(max_text)s)) AS tsv OFFSET 0
    ) AS words
), best AS MATERIALIZED (
    SELECT *
    FROM ranked
    WHERE weight IS NOT NULL
    ORDER BY weight DESC, created_at DESC, thread_id, position
    LIMIT %(limit)s
)
SELECT
    best.thread_id, best.position, i.item::text, best.created_at,
    (best.weight / (SELECT sum(weight) FROM rarity))::float8
FROM best
JOIN {schema}.thread_items AS i
    ON i.owner = %(owner)s AND i.thread_id = best.thread_id AND i.position = best.position
ORDER BY best.weight DESC, best.created_at DESC, best.thread_id, best.position;

-- name: export
-- What comes after a place, in the order of places: a thread (position 0), then its items. Whatever it holds, a
-- batch ends with the item that takes it over so many bytes.
WITH threads AS MATERIALIZED (
    SELECT
        thread_id, 0::bigint AS position, created_at, NULL::json AS item,
        title, metadata, updated_at, expires_at, lifetime, forked_from, forked_position, last_position
    FROM {schema}.threads
    WHERE owner = %(owner)s AND (expires_at IS NULL OR expires_at > now())
        AND thread_id BETWEEN %(from_thread)s AND %(to_thread)s
        AND (thread_id, 0) > (%(after_thread)s, %(after_position)s::bigint)
    ORDER BY thread_id
    LIMIT %(limit)s
), items AS MATERIALIZED (
    SELECT thread_id, position, created_at, item
    FROM {schema}.thread_items
    WHERE owner = %(owner)s
        AND thread_id BETWEEN %(from_thread)s AND %(to_thread)s
        AND (thread_id, position) > (%(after_thread)s, %(after_position)s::bigint)
        AND thread_id NOT IN (
            SELECT t.thread_id FROM {schema}.threads AS t WHERE t.owner = %(owner)s AND t.expires_at <= now()
        )
    ORDER BY thread_id, position
    LIMIT %(limit)s
), records AS (
    SELECT
        *, sum(octet_length(item::text)) OVER (
            ORDER BY thread_id, position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM (
        SELECT * FROM threads
        UNION ALL
        SELECT *, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM items
    ) AS both_kinds
    ORDER BY thread_id, position
    LIMIT %(limit)s
)
SELECT
    thread_id, position, created_at, item::text,
    title, metadata::text, updated_at, expires_at, extract(epoch FROM lifetime)::float8, forked_from, forked_position,
    last_position
FROM records
WHERE bytes_before IS NULL OR bytes_before < %(max_bytes)s
ORDER BY thread_id, position;
