"""One plain file for each library that lakemem fits into."""
