-- Whether a version says what is to be saved.
(
    content_hash = %(content_hash)s::bytea AND text = %(text)s AND metadata = %(metadata)s::jsonb
    AND (%(occurred_at)s::timestamptz IS NULL OR coalesce(occurred_at = %(occurred_at)s, false))
)
