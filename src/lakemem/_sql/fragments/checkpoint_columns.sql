-- What checkpoint_parts finds for a checkpoint `c`.
    c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.type, c.checkpoint,
    c.metadata::text, whole.channels, whole.types, whole.blobs,
    whole.composed, whole.composed_versions, whole.kinds, whole.spans,
    segments.channels, segments.positions, segments.types, segments.blobs,
    writes.tasks, writes.channels, writes.types, writes.blobs
