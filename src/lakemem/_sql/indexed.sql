-- What a question finds among memories of which most are in an index.
--
-- The index gives candidates of each arm; they, the turns beside them, and what is in no index are then read, compared
-- and weighed as in a scope without one. What is told of the scope as a whole, the index knows or a sample tells.

-- name: search
WITH {asked}, indexes AS MATERIALIZED (
    {indexes}
)
SELECT {hit_columns}
FROM asked
CROSS JOIN LATERAL (
    WITH {terms_of_question}, unindexed AS MATERIALIZED (
        {places_of_unindexed}
    ), size AS MATERIALIZED (
        SELECT
            (indexed + waiting)::float8 AS memories, waiting,
            (length_of_indexed + length_of_waiting)::float8 / nullif(indexed + waiting, 0) AS length
        FROM (
            SELECT coalesce(sum(memories), 0) AS indexed, coalesce(sum(total_length), 0) AS length_of_indexed FROM indexes
        ) AS of_indexes
        CROSS JOIN (SELECT count(*) AS waiting, coalesce(sum(length), 0) AS length_of_waiting FROM unindexed) AS others
    ), indexed_terms AS MATERIALIZED (
        SELECT t.lexeme, w.owner, w.numbers, cardinality(w.numbers) AS memories
        FROM terms AS t CROSS JOIN indexes CROSS JOIN LATERAL (
            SELECT owner, numbers FROM {schema}.indexed_words
            WHERE %(lexical)s::float8 > 0 AND owner = indexes.owner AND word = t.lexeme
            LIMIT 1
        ) AS w
    ), members AS MATERIALIZED (
        SELECT near.owner, near.number FROM indexes CROSS JOIN LATERAL ({near_members}) AS near
        UNION
        SELECT best.owner, best.number
        FROM indexes CROSS JOIN size CROSS JOIN LATERAL (
            SELECT indexes.owner, number
            FROM (
                -- The rarest words first. What stands in so many memories tells too little to be worth counting.
                SELECT numbers, memories, sum(memories) OVER (ORDER BY memories, lexeme) - memories AS of_rarer
                FROM indexed_terms
                WHERE owner = indexes.owner
            ) AS term CROSS JOIN unnest(numbers) AS number
            WHERE of_rarer < %(postings)s::bigint AND memories <= size.memories / 4
            GROUP BY number
            ORDER BY sum(ln(1 + (size.memories - memories + 0.5) / (memories + 0.5))::float8) DESC, number
            LIMIT %(candidates)s::bigint
        ) AS best
    ), found AS MATERIALIZED (
        {places_of_members}
    ), places AS MATERIALIZED (
        SELECT place FROM found
        UNION
        SELECT m.place
        FROM found CROSS JOIN (VALUES (-1), (1)) AS next (step) CROSS JOIN LATERAL (
            SELECT ctid AS place FROM {schema}.memories
            WHERE owner = found.owner AND thread_id = found.thread_id AND position = found.position + step
                AND valid_to IS NULL
            OFFSET 0
        ) AS m
        WHERE %(beside)s::float8 > 0 AND found.thread_id IS NOT NULL
        UNION
        SELECT place FROM unindexed
    ), scope AS MATERIALIZED (
        SELECT
            {words_of_m} AS words,
            m.length, m.place, -({vector_of_m} OPERATOR({vector}.<#>) asked.dense) AS similarity,
            m.position, m.thread_id, m.owner, m.occurred_at, m.valid_from, m.importance, m.labels,
            m.place IN (SELECT place FROM unindexed) AS is_unindexed
        FROM places CROSS JOIN LATERAL (
            SELECT ctid AS place, * FROM {schema}.memories WHERE ctid = places.place LIMIT 1
        ) AS m CROSS JOIN first_terms
        WHERE m.expires_at IS NULL OR m.expires_at > now()
    ), alike AS MATERIALIZED (
        SELECT words, count(*) FILTER (WHERE is_unindexed) AS memories, min(length) AS length FROM scope GROUP BY words
    ), sample AS MATERIALIZED (
        SELECT avg(similarity) AS middle, stddev_samp(similarity) AS spread
        FROM indexes
        CROSS JOIN generate_series(1, indexes.memories, greatest(1, indexes.memories / 300)) AS number
        CROSS JOIN LATERAL (
            SELECT -(embedding OPERATOR({vector}.<#>) asked.dense) AS similarity FROM {schema}.indexed_memories
            WHERE owner = indexes.owner AND indexed_memories.number = number.number
            LIMIT 1
        ) AS drawn
    ), figures AS NOT MATERIALIZED (
        -- The lowest of so many: of a normal distribution (Cramer, Mathematical Methods of Statistics, 28.6).
        SELECT
            size.memories::bigint AS memories, size.waiting AS unindexed, size.length, of_scope.highest,
            least(of_scope.lowest, sample.middle - sample.spread * (
                sqrt(2 * size.log) - (ln(size.log) + ln(4 * pi())) / (2 * sqrt(2 * size.log))
            )) AS lowest
        FROM (SELECT *, ln(greatest(memories, 3))::float8 AS log FROM size) AS size
        CROSS JOIN sample
        CROSS JOIN (SELECT min(similarity) AS lowest, max(similarity) AS highest FROM scope) AS of_scope
    ), {scope_bounds}, rarity AS MATERIALIZED (
        SELECT
            lexeme, bit, memories,
            ln(1 + (all_memories - memories + 0.5)::float8 / (memories + 0.5)::float8) AS weight
        FROM (
            SELECT
                t.lexeme, t.bit, bounds.memories AS all_memories,
                coalesce((SELECT sum(i.memories) FROM indexed_terms AS i WHERE i.lexeme = t.lexeme), 0)
                    + coalesce((SELECT sum(alike.memories) FROM alike WHERE alike.words & t.bit <> 0), 0) AS memories
            FROM terms AS t CROSS JOIN bounds
        ) AS counted
        WHERE memories > 0
    ), {best_of_scope}
) AS hit
CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = hit.place LIMIT 1) AS m
LEFT JOIN LATERAL ({turns_around}) AS around ON true
ORDER BY asked.number, hit.score DESC, m.namespace, m.key;

-- name: nearest
WITH {asked}, indexes AS MATERIALIZED (
    {indexes}
), unindexed AS MATERIALIZED (
    {places_of_unindexed}
)
SELECT
    {memory_columns}, asked.number, -nearest.distance::float8, -nearest.distance::float8, -nearest.distance::float8,
    NULL::float8, NULL::text[], NULL::bigint, NULL::bigint, NULL::float8, NULL::float8, false, false,
    nearest.memories, nearest.unindexed, NULL::text[], around.turns::text
FROM asked
CROSS JOIN LATERAL (
    WITH found AS MATERIALIZED (
        SELECT best.place
        FROM indexes CROSS JOIN LATERAL (
            -- In their order, so that no more of them are looked up than are wanted.
            WITH members AS NOT MATERIALIZED (
                {near_members}
            ), standing AS NOT MATERIALIZED (
                {places_of_members}
            )
            SELECT place FROM standing
            WHERE expires_at IS NULL OR expires_at > now()
            LIMIT %(limit)s::bigint
        ) AS best
    )
    SELECT
        m.place, {vector_of_m} OPERATOR({vector}.<#>) asked.whole AS distance,
        ((SELECT sum(memories) FROM indexes) + (SELECT count(*) FROM unindexed))::bigint AS memories,
        (SELECT count(*) FROM unindexed) AS unindexed
    FROM (SELECT place FROM found UNION SELECT place FROM unindexed) AS places
    CROSS JOIN LATERAL (SELECT ctid AS place, * FROM {schema}.memories WHERE ctid = places.place LIMIT 1) AS m
    WHERE m.expires_at IS NULL OR m.expires_at > now()
    ORDER BY distance
    LIMIT %(limit)s::bigint
) AS nearest
CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = nearest.place LIMIT 1) AS m
CROSS JOIN LATERAL (SELECT m.owner, m.thread_id, m.position) AS hit
LEFT JOIN LATERAL ({turns_around}) AS around ON true
WHERE distance <= -coalesce(%(min_similarity)s::float8, '-infinity')
ORDER BY asked.number, distance, m.namespace, m.key;
