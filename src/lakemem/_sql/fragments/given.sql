-- What a save is given, whatever it has found.
owner => %(owner)s, namespace => %(namespace)s, key => %(key)s, value => %(value)s, text => %(text)s,
    metadata => %(metadata)s, content_hash => %(content_hash)s, embedding => %(embedding)s,
    embedding_model => %(embedding_model)s, importance => %(importance)s, thread_id => %(thread_id)s,
    "position" => %(position)s, occurred_at => %(occurred_at)s, expires_in => %(expires_in)s, kind => %(kind)s,
    valid_from => %(valid_from)s, sources => %(sources)s, trust => %(trust)s, less_trusted => %(less_trusted)s,
    yields_to => %(yields_to)s, closing => %(closing)s
