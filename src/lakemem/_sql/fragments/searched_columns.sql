-- What a search reads of every memory: columns that stand before the long ones of a row.
ctid, owner, expires_at, valid_from, occurred_at, position, length, embedding_model, next_embedding_model,
        embedding, next_embedding, thread_id, namespace, tsv, importance, labels
