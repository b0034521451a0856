"""Programs behind the numbers, tables and figures in the docs: `python -m benchmarks.NAME`."""
