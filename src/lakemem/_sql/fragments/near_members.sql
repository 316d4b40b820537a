-- The memories of one of `indexes` that are nearest to a question, of those in the cells that are nearest to it; the
-- nearest first.
SELECT member.owner, member.number, member.embedding OPERATOR({vector}.<#>) asked.dense AS distance
FROM (
    SELECT first, last FROM {schema}.indexed_cells
    WHERE owner = indexes.owner AND first IS NOT NULL
    ORDER BY centroid OPERATOR({vector}.<#>) asked.dense
    LIMIT %(probes)s::bigint
) AS cell
CROSS JOIN LATERAL (
    SELECT owner, number, embedding FROM {schema}.indexed_memories
    WHERE owner = indexes.owner AND number BETWEEN cell.first AND cell.last
    OFFSET 0
) AS member
ORDER BY distance
LIMIT %(candidates)s::bigint
