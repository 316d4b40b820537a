-- The questions of a search, each with its vectors: of the question itself, and the one half-way between it and the
-- question without its common words, if that is another.
asked AS MATERIALIZED (
    SELECT
        number, query, words, names, periods, whole, CASE
            WHEN {vector}.l2_norm(whole OPERATOR({vector}.+) reduced) > 0
                THEN {vector}.l2_normalize(whole OPERATOR({vector}.+) reduced)
            ELSE whole
        END AS dense
    FROM (
        SELECT
            number, query, words, names, periods, whole::text::{vector}.halfvec AS whole,
            reduced::text::{vector}.halfvec AS reduced
        FROM jsonb_to_recordset(%(questions)s::jsonb) AS question (
            number integer, query text, whole text, reduced text, words text[], names text[], periods jsonb
        )
        OFFSET 0
    ) AS vectors
)
