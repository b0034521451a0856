"""The score table as LaTeX, for a paper: booktabs, one group of rows for each dataset."""

import math
from collections.abc import Mapping

from rppg.evaluation import Evaluation, Scope, Scores
from rppg.report.columns import COLUMNS, Column, best

MISSING = "--"
SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def scores_latex(evaluation: Evaluation, scope: Scope = "windows", *, by: str | None = None) -> str:
    """A `tabular` that needs `\\usepackage{booktabs}`; the best value of each dataset is bold.

    Every column of the report, with standard errors where it has them; `--` where a value is
    missing. With `by`, each value of that metadata is a group of rows of its own.
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
        cells += [_number(100 * row.coverage, 0), str(row.n)]
        lines.append(" & ".join([escape(row.method), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape(text: str) -> str:
    """Text as LaTeX sets it: each special sign escaped, line breaks as spaces."""
    return "".join(SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def _cell(column: Column, scores: Scores, is_best: bool) -> str:
    found = column.get(scores)
    text = _number(found.value, column.digits)
    if is_best:
        text = rf"\textbf{{{text}}}"
    if column.with_se and math.isfinite(found.value) and math.isfinite(found.se):
        text += rf" $\pm$ {_number(found.se, column.digits)}"
    return text


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return f"$-${text[1:]}" if text.startswith("-") else text
