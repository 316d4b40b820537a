-- The questions of a search, each with its vectors: of the question itself, and of it together with the question
-- without its common words.
asked AS MATERIALIZED (
    SELECT
        number, query, whole::text::{vector}.halfvec AS whole, dense::text::{vector}.halfvec AS dense,
        words, names, periods
    FROM jsonb_to_recordset(%(questions)s::jsonb)
        AS question (number integer, query text, whole text, dense text, words text[], names text[], periods jsonb)
)
