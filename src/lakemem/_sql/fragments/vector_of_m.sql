-- The vector of the memory `m` that the search's own model made: while the embedder is being changed, the second one.
CASE
    WHEN m.embedding_model = %(model)s THEN m.embedding
    WHEN m.next_embedding_model = %(model)s THEN m.next_embedding
END
