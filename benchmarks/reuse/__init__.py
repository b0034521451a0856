"""The three wrappers on unsupervised tasks that have nothing to do with rPPG.

tasks/        one task a module: its data, model, loss, metric and search space
levels.py     how a flat dictionary of options becomes a stack of wrappers
protocol.py   tuning and table: which run is made, on which seed
runs.py       finished runs, kept in a file, so that a broken off benchmark goes on
statistics.py paired differences and their intervals
report.py     the tables
"""
