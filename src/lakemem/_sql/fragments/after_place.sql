-- Behind the last one of the page before. The first condition alone can use the index behind row-level security, for
-- the comparison of arrays may not.
(owner, key, version) >= (%(after_owner)s, %(after_key)s, %(after_version)s::bigint)
    AND (owner, key, version, namespace)
        > (%(after_owner)s, %(after_key)s, %(after_version)s::bigint, %(after_namespace)s::text[])
