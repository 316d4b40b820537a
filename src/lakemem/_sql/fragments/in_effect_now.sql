-- The version `held` that is current, and the place of a new one behind it.
held AS MATERIALIZED (
    SELECT {memory_columns}, {alive} AS alive, {alive} AND {same} AS same
    FROM {schema}.memories AS m
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[] AND valid_to IS NULL
), place AS NOT MATERIALIZED (
    SELECT NULL::timestamptz AS at, NULL::timestamptz AS valid_to, NULL::bigint AS superseded_by
)
