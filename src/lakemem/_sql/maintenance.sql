-- What works through the memories of everybody asks, as the owner 'maintenance', who sees them where the login owns
-- the tables. What it finds it changes as each of their owners.

-- name: allowed
SELECT {schema}.owns_tables();

-- name: in_order
-- For the statement that follows: behind the policies few rows seem to be left, which seem best sorted. But then each
-- page of a large table would read all the pages after it.
SELECT set_config('enable_sort', 'off', true);
