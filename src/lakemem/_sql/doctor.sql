-- What `lakemem doctor` asks of a server it has logged in to.

-- name: server
SELECT
    current_setting('server_version'),
    current_user::text,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    (SELECT sum(numbackends)::int FROM pg_catalog.pg_stat_database);

-- name: tls
SELECT version, cipher FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl;

-- name: vector
SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector';
