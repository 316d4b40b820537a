-- What is said of a `hit`, the memory `m`.
{memory_columns}, asked.number, hit.score::float8,
    (-({vector_of_m} OPERATOR({vector}.<#>) asked.whole))::float8, hit.dense::float8, hit.lexical::float8, hit.terms,
    hit.dense_rank, hit.lexical_rank, hit.beside::float8, hit.of_thread::float8, hit.in_period, hit.labelled,
    hit.memories, hit.unindexed, hit.common, around.turns::text
