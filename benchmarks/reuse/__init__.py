"""The three wrappers on unsupervised tasks outside rPPG: `python -m benchmarks.reuse`.

tasks/        one module per task: its data, model, loss, metric and search space
levels.py     a stack of wrappers from a flat dictionary of options
protocol.py   tuning and table: which settings are tried, on which seeds
trials.py     finished trials in a file, so that an interrupted benchmark continues
statistics.py paired differences and their intervals
report.py     the tables
"""
