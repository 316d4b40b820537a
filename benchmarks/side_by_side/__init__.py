"""What a side-by-side benchmark is made of: contenders, the cases they meet in, and the report."""
