"""What the benchmark of long-term memory is made of: corpora, rankings, contenders, the cases, and their plots."""
