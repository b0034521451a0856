"""Programs that print the tables in the docs; each runs alone, `python -m benchmarks.NAME`."""
