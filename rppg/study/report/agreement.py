"""Section of the agreement with the true heart rate: Bland and Altman."""

from collections.abc import Sequence

from rppg.evaluation.metrics import BlandAltman
from rppg.report import html_elements as html
from rppg.report.columns import MISSING, number
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.report.figures import agreement_figure
from rppg.study.report.wording import ALL, columns_of, limits
from rppg.study.results import Agreement, Tables
from rppg.study.tables.agreement import differences
from rppg.study.tables.entries import by_dataset
from rppg.study.tables.means import by_label, counted


def agreement_section(tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section: bias and limits in a table, and a plot for each method."""
    found = {(a.label, a.test): a for a in tables.agreement}
    columns = columns_of((a.test for a in tables.agreement), datasets)
    entries = by_label(counted(tables.entries))
    rows = [TableRow(label, [_cell(found.get((label, c))) for c in columns]) for label in entries]
    images = []
    for label, own in entries.items():
        agreement = found.get((label, "")) or next(a for a in tables.agreement if a.label == label)
        if agreement.n == 0:
            continue
        groups = {name: differences(on_it)[:2] for name, on_it in by_dataset(own).items()}
        groups = {name: groups[name] for name in datasets if name in groups}
        title = f"{label} (n = {agreement.n}, {agreement.n_subjects} people)"
        images.append(
            html.image(
                agreement_figure(groups, agreement_lines(agreement), title),
                f"Bland-Altman plot of {label}: bias {number(agreement.bias_bpm, 1)} bpm, limits "
                f"{limits(agreement.low_bpm, agreement.high_bpm, 1) or 'undefined'}; n = "
                f"{agreement.n} differences of {agreement.n_subjects} people",
            )
        )
    return html.section(
        "Agreement (Bland-Altman)",
        "The bias is the mean of predicted minus true heart rate; for 95 % of the windows of new "
        "people, the difference is expected within the limits. There are many windows of each "
        "person, training set and seed: the limits are corrected for that (Bland and Altman 2007: "
        "variance between people plus variance within). A slope in a plot means that the error "
        "grows with the rate.",
        data_table(
            [column or ALL for column in columns],
            rows,
            caption="Bias (bpm), limits of agreement below. n: differences (people); a window "
            "counts once for each training set and seed.",
        ),
        html.images(images, small=True),
        anchor="agreement",
    )


def agreement_lines(agreement: Agreement) -> BlandAltman:
    """Return the lines of a plot."""
    return BlandAltman(agreement.bias_bpm, agreement.low_bpm, agreement.high_bpm)


def _cell(agreement: Agreement | None) -> TableCell:
    if agreement is None:
        return TableCell(MISSING)
    return TableCell(
        number(agreement.bias_bpm, 2),
        (
            limits(agreement.low_bpm, agreement.high_bpm, 1),
            f"n = {agreement.n} ({agreement.n_subjects})",
        ),
    )
