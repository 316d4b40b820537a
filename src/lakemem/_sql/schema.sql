-- How lakemem's tables are created and checked.

-- name: describe
-- One row about this database, whether it has lakemem's tables or not.
SELECT
    current_setting('server_version') AS server_version,
    current_setting('server_encoding') AS encoding,
    (SELECT nspname FROM pg_namespace WHERE oid = extension.extnamespace) AS vector_schema,
    to_regclass(format('%%I.%%I', %(schema)s::text, 'migrations')) IS NOT NULL AS has_migrations,
    role.rolsuper OR role.rolbypassrls AS bypasses_row_security,
    -- Switched off, or not forced on this role, which owns them.
    ARRAY(
        SELECT c.relname::text FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s::text))
            AND c.relname = ANY (%(tables)s::text[]) AND NOT row_security_active(c.oid)
        ORDER BY 1
    ) AS open_tables
FROM pg_roles AS role
LEFT JOIN pg_extension AS extension ON extension.extname = 'vector'
WHERE role.rolname = current_user;

-- name: applied
SELECT number, checksum FROM {schema}.migrations ORDER BY number;

-- name: lock
-- One lock for all schemas of a database: they share the extension, too. Released at the end of the transaction.
SELECT pg_advisory_xact_lock(7813586347);

-- name: ensure_migrations
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
-- Not a user's data, so everybody who is granted the table may read it.
DO $do$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_policies WHERE schemaname = {schema_text} AND tablename = 'migrations'
    ) THEN
        ALTER TABLE {schema}.migrations ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {schema}.migrations FORCE ROW LEVEL SECURITY;
        CREATE POLICY everybody ON {schema}.migrations USING (true) WITH CHECK (true);
    END IF;
END
$do$;

-- name: ensure_vector
CREATE EXTENSION IF NOT EXISTS vector;

-- name: record
INSERT INTO {schema}.migrations (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s);
