-- The words of a question, each with its bit, and the first of them as columns.
terms AS MATERIALIZED (
    SELECT
        lexeme, quote_literal(lexeme)::tsquery AS query,
        1::bigint << (row_number() OVER (ORDER BY length(lexeme) DESC, lexeme) - 1)::integer AS bit
    FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', asked.query))) AS lexeme
    -- A question may be a page long. What is long is likely to be rare.
    ORDER BY length(lexeme) DESC, lexeme
    LIMIT 60
), first_terms AS MATERIALIZED (
    SELECT
        any_term, are_all, queries[1] AS q1, queries[2] AS q2, queries[3] AS q3, queries[4] AS q4,
        queries[5] AS q5, queries[6] AS q6, queries[7] AS q7, queries[8] AS q8
    FROM (
        SELECT
            string_agg(query::text, ' | ')::tsquery AS any_term, array_agg(query ORDER BY bit) AS queries,
            count(*) <= 8 AS are_all
        FROM terms
        WHERE %(lexical)s::float8 > 0
    ) AS gathered
)
