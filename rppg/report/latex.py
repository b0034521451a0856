"""The score table as LaTeX for a paper: booktabs, a group of rows for each dataset."""

import math
from collections.abc import Mapping

from rppg.evaluation import Evaluation, Scope, Scores
from rppg.report.columns import COLUMNS, Column, best
from rppg.report.trained_on import footnotes

MISSING = "--"
DAGGER = r"$^\dagger$"
SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def scores_latex(evaluation: Evaluation, scope: Scope = "windows", *, by: str | None = None) -> str:
    """Return a `tabular` that needs `\\usepackage{booktabs}`; each dataset's best value is bold.

    It has the report's columns and standard errors; `--` is a missing value. With `by`, each value
    of that metadata is a group of rows.
    """
    scores = evaluation.summary(scope, by=by)
    marked = {column.field: best(column, scores) for column in COLUMNS}
    heads = ["Method", *(escape(column.title) for column in COLUMNS), r"Coverage (\%)", "$n$"]
    lines = [
        r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}",
        r"\toprule",
        " & ".join(heads) + r" \\",
    ]
    part: tuple[str, str] | None = None
    for row in scores:
        if (row.dataset, row.group) != part:
            part = (row.dataset, row.group)
            name = ", ".join(escape(text) for text in part if text)
            lines += [r"\midrule", rf"\multicolumn{{{len(heads)}}}{{l}}{{\textit{{{name}}}}} \\"]
        key = (row.dataset, row.group, row.method)
        cells = [_cell(column, row, key in marked[column.field]) for column in COLUMNS]
        cells += [number(100 * row.coverage, 0), str(row.n)]
        name = escape(row.method) + (DAGGER if row.trained_on else "")
        lines.append(" & ".join([name, *cells]) + r" \\")
    notes = [
        rf"\multicolumn{{{len(heads)}}}{{l}}{{\footnotesize {DAGGER} {escape(note)}}} \\"
        for note in footnotes(scores)
    ]
    lines += [r"\midrule", *notes] if notes else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape(text: str) -> str:
    """Escape special characters for LaTeX; line breaks become spaces."""
    return "".join(SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def number(value: float, digits: int) -> str:
    """Format a number for LaTeX, in text; `--` if it is missing."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return f"$-${text[1:]}" if text.startswith("-") else text


def _cell(column: Column, scores: Scores, is_best: bool) -> str:
    metric = column.get(scores)
    text = number(metric.value, column.digits)
    if is_best:
        text = rf"\textbf{{{text}}}"
    if column.with_se and math.isfinite(metric.value) and math.isfinite(metric.se):
        text += rf" $\pm$ {number(metric.se, column.digits)}"
    return text
