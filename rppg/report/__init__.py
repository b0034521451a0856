"""Reports: an evaluation as HTML, tables, JSON and CSV; a prediction as a plot and CSV."""

from rppg.report.document import TrainingLog, write_report
from rppg.report.latex import scores_latex
from rppg.report.table import score_table, scores_csv

__all__ = ["TrainingLog", "score_table", "scores_csv", "scores_latex", "write_report"]
