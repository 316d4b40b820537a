-- The memories of `indexes` that are nearest to a question, of those in the cells that are nearest to it.
SELECT near.owner, near.number
FROM indexes CROSS JOIN LATERAL (
    SELECT member.owner, member.number
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
    ORDER BY member.embedding OPERATOR({vector}.<#>) asked.dense
    LIMIT %(candidates)s::bigint
) AS near
