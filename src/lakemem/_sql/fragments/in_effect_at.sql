-- Whether a version was in effect at a moment, and may still be read.
valid_from <= %(as_of)s::timestamptz AND (valid_to IS NULL OR valid_to > %(as_of)s)
    AND (expires_at IS NULL OR expires_at > greatest(now(), %(as_of)s))
