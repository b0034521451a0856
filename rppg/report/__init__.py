"""The report of an evaluation: one HTML file, and the same table for the terminal and as CSV."""

from rppg.report.document import write_report
from rppg.report.table import score_table, scores_csv
from rppg.report.training import TrainingLog

__all__ = ["TrainingLog", "score_table", "scores_csv", "write_report"]
