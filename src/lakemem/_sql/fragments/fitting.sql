-- Whether a memory is one of those to be forgotten. A key is one of exactly this namespace, where one is given.
(
    (%(key)s::text IS NULL OR key = %(key)s)
    AND (
        %(namespace)s::text[] IS NULL OR namespace = %(namespace)s::text[]
        OR %(key)s::text IS NULL AND namespace[1:cardinality(%(namespace)s::text[])] = %(namespace)s::text[]
    )
    AND (%(filter)s::jsonb IS NULL OR metadata @> %(filter)s::jsonb)
    AND (%(thread_id)s::text IS NULL OR coalesce(thread_id = %(thread_id)s, false))
    AND (%(until)s::timestamptz IS NULL OR coalesce(occurred_at, valid_from) < %(until)s)
)
