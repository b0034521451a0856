"""Any damage: a defect or a correct result, never a traceback, a crash, or two lines."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rppg.data.check import check_recording
from rppg.data.datasets import DATASETS
from rppg.data.specs import open_dataset
from rppg.errors import InputError

NAMES = [name for name in DATASETS if name != "folder"]
VARIANTS = [8, pytest.param(30, marks=pytest.mark.slow)]
"""Of each dataset, by default, and by the slow tests."""


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, a few bytes flipped (most of them near the header), or a stretch overwritten."""
    kind, changed = rng.integers(3), bytearray(data)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        reach = min(len(data), 4000) if rng.random() < 0.7 else len(data)
        for at in rng.integers(reach, size=rng.integers(1, 6)):
            changed[at] ^= int(rng.integers(1, 256))
    else:
        at = rng.integers(len(data))
        changed[at : at + rng.integers(1, 64)] = rng.bytes(int(rng.integers(0, 64)))
    return bytes(changed)


@pytest.mark.parametrize("variants", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_told_or_read(dataset, tmp_path, name, variants):
    whole, written = dataset(name)
    root = tmp_path / "copy"
    shutil.copytree(whole, root)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    files = [path for path in files if path.name not in ("p3_10.mat", "bvp_s10_T1.csv")]
    labels = [path for path in files if path.suffix not in (".png", ".bmp")]
    rng = np.random.default_rng(NAMES.index(name))
    spec = f"{name}:{root / 'list.csv' if name == 'manifest' else root}"
    found = 0
    for variant in range(variants):
        among = labels if variant % 5 and labels else files
        path = among[rng.integers(len(among))]
        good = path.read_bytes()
        path.write_bytes(damaged(good, rng))
        messages = []
        try:
            for recording in open_dataset(spec, split="train", subjects=1):
                if recording.name in (written.record, "a.mkv"):
                    messages += [defect.message for defect in check_recording(recording)]
        except InputError as error:
            messages.append(str(error))
        assert not any("\n" in message for message in messages), messages
        found += bool(messages)
        path.write_bytes(good)
    assert found > variants / 3


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_nothing_that_crashes_scipy_gets_through(tmp_path: Path, step: int):
    """SciPy crashes on some of these; the process that asked must not."""
    script = f"""
import sys, numpy as np, scipy.io, pathlib
from rppg.data.reading import read_mat
from rppg.errors import InputError
path = pathlib.Path({str(tmp_path / "b.mat")!r})
scipy.io.savemat(path, {{"PPG": {{"data": np.arange(30.0), "fs": 60}}}})
good = path.read_bytes()
refused = 0
for at in range(128, 420, {step}):
    for value in (0, 1, 7, 14, 64, 255):
        path.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
        try:
            read_mat(path, ["PPG"])
        except InputError:
            refused += 1
print(refused)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert int(ended.stdout) > 200 / step
