-- The indexes of those scopes, among what a search reads, that have one.
SELECT owner, indexed_until, memories, total_length
FROM {schema}.indexes
WHERE owner = ANY (ARRAY[%(owner)s::text] || %(also_read)s::text[]) AND model = %(model)s
