"""What `benchmarks/runs.py` measures."""
