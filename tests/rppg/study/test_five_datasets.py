"""A study on five datasets in their public layouts, from videos to tables: killed, and damaged."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rppg.study.documents import without_timing

pytestmark = pytest.mark.slow

SETTINGS = """
methods = ["fcus", "sinc", "pos", "chrom", "green"]
seeds = 2
[evaluation]
window_s = 4.0
[settings.fcus]
clip_s = 4.0
batch_size = 2
[settings.sinc]
epochs = 1
clip_frames = 90
batch_size = 4
model = { width = 4, side = 16 }
[data]
"""
TRIALS = 5 * 2 * 2 + 5 * 3


@pytest.fixture
def study(five: Path, tmp_path: Path) -> Callable[..., Path]:
    """`study({"pure": folder}, settings)`: the file of a study on the five datasets, some of which
    are elsewhere."""

    def write(elsewhere: dict[str, Path] | None = None, settings: str = SETTINGS) -> Path:
        folders = {path.name: path for path in sorted(five.iterdir())} | (elsewhere or {})
        specs = [f'{name} = "{name}:{folder}"\n' for name, folder in folders.items()]
        path = tmp_path / "study.toml"
        path.write_text(settings + "".join(specs))
        return path

    return write


def written(out: Path) -> object:
    return without_timing(out / "study.json"), (out / "study.csv").read_text()


def ends(process) -> str:
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err
    return out + err


def finished(out: Path) -> int:
    return len(list((out / "trials").glob("*.json")))


def test_killed_twice_at_random_and_continued(start, study, tmp_path):
    whole, out, file = tmp_path / "whole", tmp_path / "out", study()
    ends(start("--config", file, "--out", whole, "--jobs", 2, cache=tmp_path / "first"))
    document, _ = written(whole)
    assert not document["left_out"] and document["trials"] == {"planned": TRIALS, "missing": []}
    learned = [c for c in document["cells"] if c["method"] in ("fcus", "sinc")]
    assert len(learned) == 2 * 5 * 5 and all(c["n_seeds"] == 2 and c["n_windows"] for c in learned)
    again = {"cache": tmp_path / "second"}
    generator = random.Random()
    for first, last in ((0, 8), (9, 20)):  # a clean cache: the first may be while it is filled
        number, delay_s = generator.randint(first, last), generator.uniform(0, 3)
        process = start("--config", file, "--out", out, "--jobs", 2, **again)
        while finished(out) < number:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        time.sleep(delay_s)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL and finished(out) < TRIALS
    ends(start("--config", file, "--out", out, "--jobs", 2, **again))
    assert written(out) == written(whole)
    assert not list((out / "claims").iterdir())


def test_two_shards_at_once_are_one_study(start, study, tmp_path):
    settings = SETTINGS.replace('"fcus", "sinc", ', "").replace("seeds = 2", "seeds = 1")
    whole, out, file = tmp_path / "whole", tmp_path / "out", study(settings=settings)
    both = [start("--config", file, "--out", out, "--shard", f"{n}/2") for n in (1, 2)]
    for process in both:
        ends(process)
    ends(start("--config", file, "--out", whole))
    assert written(out) == written(whole)


def test_what_is_bad_is_named_and_the_rest_completes(start, study, five, tmp_path):
    """A damaged video, a dataset with a single person, and one whose loader fails."""
    bad = {name: tmp_path / name for name in ("ubfc-rppg", "cohface", "mmpd")}
    shutil.copytree(five / "ubfc-rppg", bad["ubfc-rppg"])
    video = bad["ubfc-rppg"] / "subject1" / "vid.avi"
    video.write_bytes(video.read_bytes()[:2000])
    person = min((five / "cohface").iterdir())
    shutil.copytree(person, bad["cohface"] / person.name)
    bad["mmpd"].write_text("a file, not a folder")
    settings = SETTINGS.replace('"sinc", "pos", "chrom", ', "").replace("seeds = 2", "seeds = 1")
    out, file = tmp_path / "out", study(bad, settings)
    plan = ends(start("--config", file, "--out", out, "--plan"))
    assert "mmpd" in plan and "cohface, test: can't be used: " in plan
    assert "can't be run: fcus; on mmpd, training; seed 0" in plan
    ends(start("--config", file, "--out", out))
    document, _ = written(out)
    reasons = {(entry["kind"], entry["what"]): entry["reason"] for entry in document["left_out"]}
    assert ("recording", "ubfc-rppg: subject1") in reasons
    assert "no subject of 1 is in split test" in reasons["part", "cohface, test"]
    assert reasons["part", "mmpd"] and reasons["trial", "fcus; on mmpd, training; seed 0"]
    cells = {(c["method"], c["training"], c["test"], c["part"]) for c in document["cells"]}
    whole = {"cohface", "pure", "ubfc-rppg", "vipl-hr"}
    split = whole - {"cohface"}  # a single person is for training
    expected = {("fcus", a, b, "whole") for a in whole for b in whole - {a}}
    expected |= {("fcus", a, a, "test") for a in split}
    expected |= {("green", "", b, "whole") for b in whole}
    expected |= {("green", "", b, "test") for b in split}
    assert cells == expected and not document["trials"]["missing"]
