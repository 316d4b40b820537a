-- What a search among `indexes` goes through one by one: what was stored after they were made, and scopes without one.
SELECT m.ctid AS place, m.length
FROM indexes CROSS JOIN LATERAL (
    SELECT ctid, length FROM {schema}.memories
    WHERE owner = indexes.owner AND valid_to IS NULL AND stored_at > '-infinity' AND stored_at > indexes.indexed_until
    OFFSET 0
) AS m
UNION ALL
SELECT m.ctid, m.length
FROM unnest(ARRAY[%(owner)s::text] || %(also_read)s::text[]) AS reads (owner) CROSS JOIN LATERAL (
    SELECT ctid, length FROM {schema}.memories
    WHERE owner = reads.owner AND valid_to IS NULL
    OFFSET 0
) AS m
WHERE reads.owner NOT IN (SELECT indexes.owner FROM indexes)
