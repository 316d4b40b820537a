-- What a role has, by Postgres's own privilege functions. A table that is not there counts as a missing right.

-- name: role_exists
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %(role)s);

-- name: vector_schema
SELECT n.nspname
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'vector';

-- name: database
SELECT current_database(), has_database_privilege(%(role)s::name, current_database(), 'CONNECT');

-- name: missing
SELECT 'CONNECT', 'DATABASE', current_database()::text
WHERE NOT has_database_privilege(%(role)s::name, current_database(), 'CONNECT')
UNION ALL
SELECT 'USAGE', 'SCHEMA', wanted.name
FROM unnest(%(schemas)s::text[]) AS wanted (name)
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.name
WHERE n.oid IS NULL OR NOT has_schema_privilege(%(role)s::name, n.oid, 'USAGE')
UNION ALL
SELECT wanted.privilege, 'TABLE', wanted.name
FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS wanted (name, privilege)
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = %(schema)s
LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
WHERE c.oid IS NULL OR NOT has_table_privilege(%(role)s::name, c.oid, wanted.privilege)
ORDER BY 2, 3, 1;

-- name: own_rows_missing
SELECT wanted.name
FROM unnest(%(tables)s::text[]) AS wanted (name)
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_policies AS p
    WHERE p.schemaname = %(schema)s AND p.tablename = wanted.name AND p.permissive = 'RESTRICTIVE'
        AND %(role)s::name = ANY (p.roles)
)
ORDER BY 1;
