-- Whether the thread may be read: one that has expired is gone, though its rows may still be there.
NOT EXISTS (
    SELECT FROM {schema}.threads
    WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND expires_at <= now()
)
