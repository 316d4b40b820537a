-- The text of `m` as its words, and as their stems without those that change little. An ending in "-ed" is kept, for
-- it makes a fact one of the past.
CROSS JOIN LATERAL (
    SELECT
        array_agg(word ORDER BY place) AS words,
        array_agg(
            coalesce((ts_lexize('pg_catalog.english_stem', word))[1], word)
                || CASE WHEN right(word, 2) = 'ed' THEN '-ed' ELSE '' END
            ORDER BY place
        ) FILTER (WHERE word <> ALL ('{{a,an,am,are,be,being,is,that}}')) AS stems
    FROM regexp_split_to_table(
        regexp_replace(replace(lower(m.text), '’', ''''), '(\w)n''t\M', '\1 not', 'g'), '\s+'
    ) WITH ORDINALITY AS piece (piece, place)
    CROSS JOIN LATERAL rtrim(piece, '.,;:!') AS word
    WHERE word NOT IN ('', 'the')
) AS phrase
