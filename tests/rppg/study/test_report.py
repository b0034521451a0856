"""The report and the LaTeX tables of a study: self-contained, escaped, every number with its n."""

import re

import pytest

from rppg.report.colour_scale import ColourScale
from rppg.study.documents import VERSIONS
from rppg.study.latex import to_latex
from rppg.study.report.page import study_html
from rppg.study.results import tables
from tests.rppg.report.test_report import EVIL, Checker
from tests.rppg.study.invented import invent

NASTY = r"UBFC_1 & 50% #\\"
TIMING = re.compile(r'<section id="timing">.*?</section>', re.DOTALL)


def report(folder, *names, **options) -> str:
    prepared, store = invent(folder, *([names] if names else []), **options)
    return study_html(prepared, tables(prepared, store), VERSIONS)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return report(tmp_path_factory.mktemp("study"), EVIL, "b", protocol="convergence")


def rows_of(page: str, section: str) -> dict[str, list[str]]:
    """The cells of a section's rows, without tags, by the row's heading; the first of each."""
    (text,) = re.findall(rf'<section id="{section}">.*?</section>', page, re.DOTALL)
    found = {}
    for name, cells in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', text):
        plain = [re.sub(r"<[^>]+>", " ", cell) for cell in re.findall("<td.*?</td>", cells)]
        found.setdefault(re.sub("<.*", "", name), plain)
    return found


def test_the_report_is_well_formed_and_needs_no_network(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.tags
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link", re.sub('base64,[^"]*', "", page))
    for text in (EVIL, "fcus", "pos", "is dark", "9 lux", "unknown", 'protocol = "convergence"'):
        assert text in checker.text


def test_it_can_be_read_aloud(page):
    assert all("scope=" in tag for tag in re.findall("<th[ >][^>]*", page))
    assert all(re.search('alt="[^"]{20,}"', tag) for tag in re.findall("<img[^>]*", page))
    assert page.count("<table>") == page.count("<caption>") == page.count('role="region"')
    anchors = re.findall(r'<a href="#([^"]+)"', page)
    assert anchors == re.findall(r'<section id="([^"]+)"', page) and "convergence" in anchors


def test_every_number_has_its_n(page):
    for section in ("means", "matrices", "convergence", "agreement", "breakdown"):
        for name, cells in rows_of(page, section).items():
            assert all("n = " in cell or cell.strip() == "–" for cell in cells), (section, name)
    # after epoch 2, on the first dataset: 3.00 bpm of 4 windows of 2 people, one of two shared
    assert "3.00 †" in rows_of(page, "means")["fcus"][0]
    assert "n = 4 (2)" in rows_of(page, "means")["fcus"][0]
    assert "n = 8 (2)" in rows_of(page, "agreement")["fcus"][0]
    assert rows_of(page, "ranks")["pos"][0].split()[:2] == ["1", "1.0"]
    assert "1 tested recording in its training data" in page


def test_only_the_marked_part_depends_on_time(page, tmp_path):
    slower = report(tmp_path, EVIL, "b", protocol="convergence", spent_s=7.0)
    assert slower != page
    assert TIMING.sub("", slower) == TIMING.sub("", page) != page


def test_what_has_not_been_run_is_named(tmp_path):
    empty = report(tmp_path, finished=0)
    assert "6 of 6 trials not finished yet" in empty and "seed 1" in empty
    assert 'id="means"' not in empty


def test_black_is_legible_on_the_whole_scale():
    scale = ColourScale.over([2.0, 18.0, float("nan")])
    steps = scale.steps(5)
    assert (steps[0], steps[2], steps[-1]) == pytest.approx((2.0, 6.0, 18.0))
    light = [luminance(scale.colour(value)) for value in steps]
    assert light == sorted(light, reverse=True) and light[0] > light[-1]
    assert (light[-1] + 0.05) / 0.05 > 7  # WCAG's contrast with black, level AAA
    assert scale.colour(1.0) == scale.colour(2.0) and scale.colour(float("nan")) == ""
    assert ColourScale.over([]).colour(3.0).startswith("#")


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_latex_tables_are_balanced_and_escaped(tmp_path):
    prepared, store = invent(tmp_path, (NASTY, "b"), finished=None)
    text = to_latex(prepared, tables(prepared, store))
    assert r"UBFC\_1 \& 50\% \#\textbackslash{}" in text and "nan" not in text
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 3
    for table in re.findall(r"\\begin{tabular}.*?\\end{tabular}", text, re.DOTALL):
        columns = re.match(r"\\begin\{tabular\}\{([lr]+)\}", table)[1]
        for line in re.findall(r"^.*\\\\$", table, re.MULTILINE):
            spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + spans == len(columns) - 1, line
    for line in text.splitlines():
        bare = re.sub(r"\\[{}$]", "", line)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0


def test_latex_marks_the_best_and_the_second(tmp_path):
    prepared, store = invent(tmp_path, finished=None)
    text = to_latex(prepared, tables(prepared, store))
    means = {line.split(" & ")[0]: line.split(" & ") for line in text.splitlines()[:20]}
    assert means["pos"][1] == r"\textbf{2.00}" and means["pos"][3] == "--"
    assert means["fcus"][1] == r"\underline{3.00}$^\dagger$"
    assert "a 4 (2), b 3 (2), All 7 (4); 2 seeds" in text
    assert means["pos"][4] == r"\textbf{5.00}"
