"""Every recording is used in an evaluation, or left out with a reason; on UBFC-rPPG's layout."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rppg.cli import main
from rppg.data import writers
from rppg.data.check import check_recording
from rppg.data.layouts import ibvp
from rppg.data.specs import open_dataset
from rppg.data.wave_fault import find_wave_fault
from rppg.errors import InputError
from rppg.types import Pulse

SECONDS = 12.0


@pytest.fixture
def rppg(capsys):
    """`rppg("check", ...)`: exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def pair(tmp_path_factory, write) -> Path:
    """Two good subjects of 12 s."""
    root = tmp_path_factory.mktemp("pair")
    times = np.arange(round(SECONDS * 30)) / 30
    for name in ("subject1", "subject2"):
        truth = Pulse(times, write.wave(times))
        bpm = np.full(len(times), 72.0)
        writers.write_ubfc_rppg(root / name, write.images(times), truth, bpm, fps=30)
    return root


Lines = list[np.ndarray]
SPOILT: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "ms": (lambda x: [x[0], x[1], 1000 * x[2]], "are the times in seconds"),
    "flat": (lambda x: [0 * x[0] + 60, x[1], x[2]], "the wave is flat, all of its values are 60"),
    "swapped": (lambda x: [x[1], x[0], x[2]], "swapped"),
    "ramp": (lambda x: [np.arange(len(x[0]), dtype=float), x[1], x[2]], "the wave only rises"),
    "wander": (lambda x: [np.sin(2 * np.pi * 0.1 * x[2]), x[1], x[2]], "no pulse: "),
    "short": (lambda x: [line[:180] for line in x], "share 6.0 s, less than a window of 10 s"),
}


def spoil(root: Path, kind: str) -> None:
    path = root / "subject2" / "ground_truth.txt"
    lines = SPOILT[kind][0](list(np.loadtxt(path)))
    path.write_text("\n".join(" ".join(f"{value:.7e}" for value in line) for line in lines) + "\n")


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("kind", SPOILT)
def test_a_recording_that_gives_nothing_is_left_out_with_a_reason(rppg, pair, tmp_path, kind):
    shutil.copytree(pair, tmp_path / "data")
    spoil(tmp_path / "data", kind)
    reason = SPOILT[kind][1]
    spec = f"ubfc-rppg:{tmp_path / 'data'}?face=full"
    evaluate = ("evaluate", "--no-cache", "--method", "green", "--data")
    code, out, _ = rppg(*evaluate, spec, "--out", tmp_path / "out")
    assert code == 0
    footer = out[out.index("1 of 2 recordings are used; 1 left out:") :]
    assert "subject2: " in footer and reason in footer
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    (data,) = result["data"]
    assert (data["subjects"], data["recordings"]) == (["subject1"], 1)
    assert data["left_out"] == ["subject2"]
    (failure,) = result["failures"]
    assert (failure["record"], failure["method"]) == ("subject2", None)
    assert reason in failure["reason"]
    rows = [*result["windows"], *result["clips"]]
    assert {row["record"] for row in rows} == {"subject1"}

    shutil.rmtree(tmp_path / "data" / "subject1")
    code, out, err = rppg(*evaluate, spec)
    assert (code, out) == (2, "")  # no table of dashes
    assert reason in err.splitlines()[-1] and "no window of 10 s" in err.splitlines()[-1]
    if kind != "short":
        code, out, _ = rppg("check", spec)
        assert code == 2 and re.search(rf"^subject2  .*can't be used.*{reason}", out, re.M)


def test_methods_that_give_nothing_are_an_error(rppg, pair, tmp_path, monkeypatch):
    spec = f"ubfc-rppg:{pair}?face=full"
    monkeypatch.setattr(
        "rppg.evaluation.run._estimate",
        lambda name, estimator, prepared, protocol: (np.full(len(prepared.grid_s), np.nan), None),
    )
    code, out, err = rppg("evaluate", "--no-cache", "--method", "green", "--data", spec)
    assert (code, out) == (2, "")
    assert "no method gave a heart rate in any of 2 windows" in err


def test_the_wave_of_ibvp_is_read_by_its_header(dataset, tmp_path):
    """A spreadsheet saved with its row numbers: `,BVP,...`."""
    root, written = dataset("ibvp")
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data" / "p02_b" / "p02_b_bvp.csv"
    header, *rows = path.read_text().splitlines()
    numbered = [f"{index},{row}" for index, row in enumerate(rows)]
    path.write_text("\n".join([f",{header}", *numbered]))
    bvp = ibvp.read_truth(path).bvp
    np.testing.assert_allclose(bvp, written.bvp, atol=1e-7)
    path.write_text("\n".join([f",{header.replace('BVP', 'values')}", *numbered]))
    with pytest.raises(InputError, match="no column BVP; found '', 'values'"):
        ibvp.read_truth(path)


def test_a_first_column_that_is_no_pulse_is_a_defect(dataset, tmp_path):
    """Row numbers under a name that says nothing."""
    root, _ = dataset("ibvp")
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data" / "p02_b" / "p02_b_bvp.csv"
    rows = path.read_text().splitlines()[1:]
    path.write_text("\n".join(["n,a", *(f"{k},{row[0]}" for k, row in enumerate(rows))]))
    recording = open_dataset(f"ibvp:{tmp_path / 'data'}", split="train", subjects=1)[-1]
    (defect,) = [defect for defect in check_recording(recording) if defect.kind == "wave"]
    assert defect.fatal and "only rises, from 0 to 191" in defect.message


@pytest.mark.parametrize("option", ["rhythm=irregular", "rhythm=recovery", "hr=36-38"])
def test_rendered_pulses_have_none_of_the_faults(option):
    """Rhythms and rates at the ends of what people have."""
    (recording,) = open_dataset(f"synthetic:lab?{option}", split="train", subjects=1)
    assert find_wave_fault(recording.load_truth()) is None
