-- Which words of the question stand in the memory `m`: a bit a word. The first ones are written out, for a subquery a
-- memory takes longer than all else of a search; only a long question needs one.
CASE WHEN m.tsv @@ first_terms.any_term THEN
    CASE WHEN m.tsv @@ q1 THEN 1 ELSE 0 END + CASE WHEN m.tsv @@ q2 THEN 2 ELSE 0 END
    + CASE WHEN m.tsv @@ q3 THEN 4 ELSE 0 END + CASE WHEN m.tsv @@ q4 THEN 8 ELSE 0 END
    + CASE WHEN m.tsv @@ q5 THEN 16 ELSE 0 END + CASE WHEN m.tsv @@ q6 THEN 32 ELSE 0 END
    + CASE WHEN m.tsv @@ q7 THEN 64 ELSE 0 END + CASE WHEN m.tsv @@ q8 THEN 128 ELSE 0 END
    + CASE WHEN first_terms.are_all THEN 0
        ELSE coalesce((SELECT sum(bit)::bigint FROM terms WHERE bit > 128 AND m.tsv @@ terms.query), 0)
    END
    ELSE 0
END
