-- What works through the memories of everybody: a change of the embedder, and a consolidation.

-- Whether the login owns the tables, itself or by its membership in a role.
DO $do$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION %I.owns_tables() RETURNS boolean LANGUAGE sql STABLE'
        ' RETURN (SELECT pg_has_role(relowner, ''USAGE'') FROM pg_catalog.pg_class WHERE oid = %L::regclass)',
        {schema_text}, format('%I.memories', {schema_text})
    );
END
$do$;

-- As the owner 'maintenance', which nobody is, those who own the tables may see all memories. What they do with them
-- they do as each of their owners. An app that only has rights to the tables sees nothing by this.
CREATE POLICY maintenance ON {schema}.memories FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'maintenance' AND (SELECT {schema}.owns_tables())
);
