-- What a write does to the row `t` of its thread, where there is one already. A thread that expires a while after
-- its last write lives on; one that has expired is emptied, and begins anew as if it had never been.
last_position = excluded.last_position + CASE
        WHEN t.expires_at <= now() THEN {schema}.empty_thread(t.owner, t.thread_id) ELSE t.last_position
    END,
    updated_at = clock_timestamp(),
    created_at = CASE WHEN t.expires_at <= now() THEN excluded.created_at ELSE t.created_at END,
    title = CASE WHEN t.expires_at <= now() THEN excluded.title ELSE t.title END,
    metadata = CASE WHEN t.expires_at <= now() THEN excluded.metadata ELSE t.metadata END,
    lifetime = CASE WHEN t.expires_at <= now() THEN excluded.lifetime ELSE t.lifetime END,
    expires_at = CASE
        WHEN t.expires_at <= now() THEN excluded.expires_at ELSE coalesce(now() + t.lifetime, t.expires_at)
    END,
    forked_from = CASE WHEN t.expires_at <= now() THEN excluded.forked_from ELSE t.forked_from END,
    forked_position = CASE WHEN t.expires_at <= now() THEN excluded.forked_position ELSE t.forked_position END
