"""The LaTeX table: balanced, escaped, the best in bold."""

import re

import pytest

from rppg.evaluation import Evaluation, Row
from rppg.report import scores_latex
from rppg.report.latex import escape

NASTY = r"UBFC_rPPG & 100% #1 {a} $x$ ~ ^ \end{tabular}"


def table() -> list[str]:
    rows = tuple(
        Row(dataset, f"r{k}", f"s{k}", {"light": "lamp_1"}, method, 0.0, 10.0, 70.0 + k, rate + k)
        for dataset in (NASTY, "PURE")
        for method, rate in (("pos_2", 71.0), ("green", 90.0), ("none", float("nan")))
        for k in range(4)
    )
    return scores_latex(Evaluation({"name": "default"}, rows, rows)).splitlines()


def test_each_row_has_the_cells_that_the_head_announces() -> None:
    lines = table()
    columns = re.fullmatch(r"\\begin\{tabular\}\{(lr*)\}", lines[0])
    assert columns is not None
    assert lines[1] == r"\toprule"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert lines.count(r"\midrule") == 2
    rows = [line for line in lines if line.endswith(r"\\")]
    cells = [line for line in rows if not line.startswith(r"\multicolumn")]
    assert len(cells) == 7
    for line in cells:
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns[1]) - 1
    for line in lines:
        assert len(re.findall(r"(?<!\\)\{", line)) == len(re.findall(r"(?<!\\)\}", line))
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0


def test_names_are_escaped_and_missing_values_are_dashes() -> None:
    text = "\n".join(table())
    assert r"UBFC\_rPPG \& 100\% \#1 \{a\} \$x\$" in text
    assert text.count(r"\end{tabular}") == 1
    assert "nan" not in text
    assert any(line.startswith("none & --") for line in table())
    assert any(line.startswith(r"pos\_2 & ") for line in table())


def test_the_best_of_each_dataset_is_bold() -> None:
    lines = table()
    assert sum(r"\textbf{1.00}" in line for line in lines if line.startswith(r"pos\_2")) == 2
    assert not any(r"\textbf" in line for line in lines if line.startswith("none"))
    green = next(line for line in lines if line.startswith("green"))
    assert not green.split(" & ")[1].startswith(r"\textbf")


@pytest.mark.parametrize("sign", "&%$#_{}~^\\")
def test_no_special_sign_is_left_bare(sign: str) -> None:
    assert escape(sign) != sign
    assert escape(f"a{sign}b").startswith("a\\")
