-- What a statement tells of the memory `m`, in the order in which lakemem.operations.records reads it.
m.namespace, m.key, m.value::text, m.text, m.metadata::text, m.version, m.valid_from, m.valid_to,
    m.occurred_at, m.expires_at, m.embedding IS NOT NULL OR m.next_embedding IS NOT NULL,
    m.owner, m.kind, m.thread_id, m.position, m.importance, m.sources, m.similar_to, m.created_at, m.superseded_by,
    m.trust
