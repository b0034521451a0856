"""The report is one file that holds all it shows and trusts nothing it is given."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rppg.data.provenance import DatasetProvenance
from rppg.errors import WriteError
from rppg.evaluation import Evaluation, Failure, Row, Waveform
from rppg.report import score_table, scores_csv, write_report
from rppg.report.training import training_figures

EVIL = '<script>alert("x")</script> & $\\frac$'
VOID = {"meta", "img", "br", "link"}


class Checker(HTMLParser):
    """Collects tags and text, and insists that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def evaluation(methods: tuple[str, ...] = ("constant", "pos", "fcus")) -> Evaluation:
    rng = np.random.default_rng(0)
    rows = []
    for dataset in ("webcam", "lab"):
        for k in range(6):
            for number, method in enumerate(methods):
                true = 60.0 + 5 * k
                rows.append(
                    Row(
                        dataset=dataset,
                        record=EVIL if k == 0 else f"r{k}",
                        subject=f"s{k}",
                        metadata={"skin type": str(k % 2), "light": EVIL},
                        method=method,
                        start_s=0.0,
                        end_s=10.0,
                        hr_true_bpm=true,
                        hr_pred_bpm=np.nan
                        if (k, number) == (3, 1)
                        else true + rng.normal(0, 1 + number),
                        snr_db=np.nan if method == "constant" else 3.0,
                    )
                )
    times = np.arange(600) / 30
    wave = np.sin(2 * np.pi * 1.2 * times)
    spoilt = np.full(600, np.nan)
    return Evaluation(
        settings={"window_s": 10.0, "fps": 30.0},
        windows=tuple(rows),
        clips=tuple(rows),
        waveforms=(
            Waveform("webcam", EVIL, "pos", times, wave, wave),
            Waveform("webcam", EVIL, "fcus", times, wave, spoilt),
            Waveform("lab", "short", "pos", times[:150], wave[:150], 0 * wave[:150]),
        ),
        failures=(Failure("lab", EVIL, None, "cannot be read"),),
        data=(
            DatasetProvenance(EVIL, EVIL, "test", 5, ("s1", "s2", "s3", "s4", "s5"), 6, (EVIL,)),
            DatasetProvenance("webcam", "", "", 6, (), 6),
        ),
    )


LOG = [
    {"step": i, "clips_seen": 4 * i, "loss": 3.0 / (i + 1), "sparsity": 1.0, "kept": 0.7}
    for i in range(50)
]


def test_the_report_is_well_formed_and_needs_no_network(tmp_path: Path) -> None:
    path = write_report(
        tmp_path / "new" / "report.html", evaluation(), LOG, title=EVIL, settings={"seed": EVIL}
    )
    document = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(document)
    assert checker.open == []
    assert "script" not in checker.tags
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|<link", re.sub(r"base64,[^\"]*", "", document)
    )
    for name in ("constant", "pos", "fcus", "webcam", "lab", "cannot be read", EVIL):
        assert name in checker.text
    assert "split test, 5 subjects, 6 recordings; 1 left out" in checker.text
    assert checker.tags.count("img") >= 2 + 2 + 1 + 6
    assert 'name="viewport"' in document


def test_without_training_or_waveforms_there_is_still_a_report(tmp_path: Path) -> None:
    bare = Evaluation(settings={}, windows=(), clips=())
    checker = Checker()
    checker.feed(write_report(tmp_path / "report.html", bare).read_text(encoding="utf-8"))
    assert checker.open == []
    assert "Training" not in checker.text


def test_the_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")

    def fails(self: Path, *args: object, **kwargs: object) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fails)
        with pytest.raises(WriteError, match=r"report.html: can't be written \(disk full\)"):
            write_report(path, evaluation())
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(tmp_path / "a.html", evaluation(), LOG)
    second = write_report(tmp_path / "b.html", evaluation(), LOG)
    assert first.read_bytes() == second.read_bytes()


def test_training_curves_are_drawn_for_what_the_log_has() -> None:
    assert training_figures([]) == []
    titles = [title for _, title, _ in training_figures(LOG)]
    assert titles == ["Loss and its terms", "Kept fraction"]
    gaps = [{"step": 1.0, "loss": np.nan}, {"step": 2.0, "loss": 1.0, "gradient_cosine": 0.5}]
    assert len(training_figures(gaps)) == 2


def test_the_terminal_table_fits_and_marks_the_best() -> None:
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(
        score_table(evaluation())
    )
    text = out.getvalue()
    assert re.search(r"\x1b\[1;32m[0-9.]+ ± [0-9.]+", text)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line) for line in plain.splitlines()) <= 80
    for name in ("constant", "pos", "fcus", "webcam", "lab", "83 %"):
        assert name in plain
    by_light = Console(file=io.StringIO(), width=80)
    by_light.print(score_table(evaluation(), "clips", by="light"))


def test_the_csv_has_every_metric_with_its_uncertainty() -> None:
    lines = list(csv.DictReader(io.StringIO(scores_csv(evaluation()))))
    assert [line["method"] for line in lines] == ["constant", "pos", "fcus"] * 2
    assert lines[0]["snr_db"] == ""
    assert float(lines[1]["coverage"]) == pytest.approx(5 / 6, abs=1e-4)
    assert (
        float(lines[1]["mae_bpm_low"])
        < float(lines[1]["mae_bpm"])
        < float(lines[1]["mae_bpm_high"])
    )
    parts = list(csv.DictReader(io.StringIO(scores_csv(evaluation(), by="skin type"))))
    assert {line["skin type"] for line in parts} == {"0", "1"}
