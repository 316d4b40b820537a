-- What `lakemem doctor` asks of a server it has logged in to.

-- name: server
SELECT
    current_setting('server_version'),
    current_user::text,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    (SELECT sum(numbackends)::int FROM pg_catalog.pg_stat_database);

-- name: vector
SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector';
