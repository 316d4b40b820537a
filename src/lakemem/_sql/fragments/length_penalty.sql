-- What the words of a `row` are divided by: the more, the longer it is.
(bounds.penalty + bounds.penalty_of_length * row.length)
