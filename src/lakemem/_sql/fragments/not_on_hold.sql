NOT EXISTS (SELECT FROM {schema}.holds AS h WHERE h.owner = %(owner)s)
