-- Whether a memory is one of those that a listing asks for.
namespace[1:cardinality(%(namespace)s::text[])] = %(namespace)s::text[]
    AND metadata @> %(filter)s::jsonb AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND {matches}
