"""The report's table fits in a window of 1200 px, in the widest of the page's fonts."""

import re

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from rppg.report import html_elements as html
from rppg.report.columns import COLUMNS

WINDOW_PX, SIDES_PX, FONT_PX = 1200, 2 * 0.03 * 1200, 16 * 0.92
WIDEST = {True: "★ 12.34 ± 12.34", False: "★ −12.3"}


def width_px(text: str) -> float:
    """Return the width of bold text."""
    font = FontProperties(family="DejaVu Sans", size=FONT_PX, weight="bold")
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])


def rule(selector: str) -> str:
    """Return the declarations of a selector."""
    return " ".join(re.findall(rf"^{re.escape(selector)} {{([^}}]*)}}", html.CSS, re.M))


def test_the_widest_table_fits():
    assert "white-space: normal" in rule("thead th")  # headings wrap between words
    assert "overflow-wrap: anywhere" in rule('tr.part th, tbody th[scope="row"]')
    padding = 2 * 16 * float(re.search(r"padding: \S+ ([\d.]+)rem", rule("th, td")).group(1))
    names = 16 * float(re.search(r"min-width: ([\d.]+)rem", html.CSS).group(1))
    cells = [(column.title, WIDEST[column.with_se]) for column in COLUMNS]
    cells += [("Coverage", "100 %"), ("n (subjects)", "1234 (123)")]
    total = names + padding
    for title, cell in cells:
        total += padding + max(map(width_px, [*title.split(), cell]))
    assert total < WINDOW_PX - SIDES_PX


def test_a_table_that_does_not_fit_can_be_scrolled():
    assert html.score_rows([]).startswith('<div class="scroll"><table>')
    assert "overflow-x: auto" in rule(".scroll")
