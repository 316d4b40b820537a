-- Whether the thread may be read: one that has expired is gone, though its rows may still be there. Written as a
-- scalar, it is found by the primary key, and not by the index of the threads that expire, however many these are.
coalesce(
    (SELECT expires_at > now() FROM {schema}.threads WHERE owner = %(owner)s AND thread_id = %(thread_id)s), true
)
