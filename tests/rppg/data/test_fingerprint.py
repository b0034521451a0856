"""A recording that was trained on is known again, wherever it is and however it is opened."""

import json
import shutil
from pathlib import Path

import pytest

from rppg.data.fingerprint import TrainingData, fingerprint, fingerprints
from rppg.data.specs import open_dataset
from rppg.models.checkpoint import SHIPPED
from rppg.types import FaceCrops, Recording


def listed(spec: object) -> list[Recording]:
    return open_dataset(str(spec), split="train", subjects=2)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    for name in ("a", "b"):
        (here / f"{name}.avi").write_bytes(name.encode() * 200_000)
    data = TrainingData({"fingerprints": fingerprints(listed(here)[:1])})
    shutil.move(here, there)
    (there / "a.avi").rename(there / "z.avi")
    assert {r.name: r in data for r in listed(there)} == {"z.avi": True, "b.avi": False}
    (there / "z.avi").write_bytes(b"a" * 199_999 + b"!")
    assert all(recording not in data for recording in listed(there))
    (there / "z.avi").unlink()
    assert fingerprint(listed(there / "b.avi")[0]) is not None


def test_files_of_frames_are_known(dataset) -> None:
    root, _ = dataset("pure")
    recordings = listed(f"pure:{root}")
    found = {recording.name: fingerprint(recording) for recording in recordings}
    assert found["01-03"] is not None
    assert found["02-01"] is found["10-01"] is None  # they have no images


def synthetic(number: int, spec: str = "synthetic:webcam") -> Recording:
    def crops() -> FaceCrops:
        raise AssertionError

    return Recording(f"webcam-{number}", "synthetic:webcam@1", str(number), crops, spec=spec)


@pytest.mark.parametrize("known", ["data", "fingerprints"])
def test_synthetic_people_are_known_with_their_options(known: str) -> None:
    """By the fingerprints; in a checkpoint of an earlier version by the subjects."""
    made = json.loads(SHIPPED.with_suffix(".json").read_text())["provenance"]
    made.pop("fingerprints", None)
    if known == "fingerprints":
        made = {known: fingerprints([synthetic(number) for number in range(60)])}
    for provenance in (made, {"adaptation": {"start": {"provenance": made}}, "data": []}):
        data = TrainingData(provenance)
        assert synthetic(59) in data and synthetic(59, "synthetic:webcam?skin=3") in data
        assert synthetic(60) not in data and synthetic(200_000) not in data
        assert synthetic(5, "synthetic:webcam?beside=shoulder") not in data
        assert synthetic(5, "synthetic:mobile") not in data


def test_without_fingerprints_subjects_at_the_same_path_count(tmp_path: Path) -> None:
    for name in ("here/a.avi", "here/b.avi", "there/a.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    part = {"dataset": "here", "spec": f"{tmp_path}/here?face=full", "subjects": ["a.avi"]}
    data = TrainingData({"data": [part]})
    assert [recording in data for recording in listed(tmp_path / "here")] == [True, False]
    assert listed(tmp_path / "there")[0] not in data


def test_nothing_is_known_of_what_has_no_files() -> None:
    data = TrainingData({})
    assert not data and synthetic(0) not in data
    in_memory = Recording("a", "mine", "a", synthetic(0).load_crops)
    assert fingerprint(in_memory) is None and fingerprints([in_memory]) == []
    assert in_memory not in TrainingData({"fingerprints": fingerprints([synthetic(0)])})
