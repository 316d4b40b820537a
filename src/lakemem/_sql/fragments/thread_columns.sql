-- What a listing tells of a thread.
thread_id, created_at, updated_at, title, metadata::text, expires_at,
    extract(epoch FROM lifetime)::float8, forked_from, forked_position
