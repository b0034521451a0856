"""From a SPEC to records."""

from pathlib import Path

import pytest

from rppg.data.specs import open_dataset
from rppg.errors import InputError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))


def test_a_synthetic_domain_gives_records_with_pictures_and_truth() -> None:
    seen: list[tuple[int, int]] = []
    records = open_dataset(
        "synthetic:webcam", split="train", subjects=1, progress=lambda i, n: seen.append((i, n))
    )
    assert seen == [(1, 1)]
    (record,) = records
    assert record.dataset == "synthetic:webcam@1"
    assert record.metadata["motion"] == "mild"
    crops = record.load_crops()
    assert crops.frames.shape == (601, 36, 36, 3)
    assert crops.duration_s == pytest.approx(20)
    assert record.load_truth is not None
    assert record.load_truth().times_s[-1] == pytest.approx(20, abs=0.05)


def test_a_folder_is_searched_recursively_and_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.avi", "a/notes.txt", "c.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    records = open_dataset(str(tmp_path), split="train", subjects=1)
    assert [r.name for r in records] == ["a/z.avi", "b.MP4", "c.mkv"]
    assert len({r.subject for r in records}) == 3
    assert all(r.load_truth is None for r in records)
    (single,) = open_dataset(str(tmp_path / "c.mkv"), split="train", subjects=1)
    assert single.name == "c.mkv"


def test_a_folder_without_videos_is_named_with_the_suffixes_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(InputError, match=r"no video in this folder.*\.mp4") as caught:
        open_dataset(str(tmp_path), split="train", subjects=1)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize("spec", ["/no/such/folder", "synthetic:", "webcam", "PURE:/data"])
def test_what_is_neither_path_nor_dataset_is_named_with_the_mend(spec: str) -> None:
    with pytest.raises(InputError, match=r"synthetic:DOMAIN.*folder of videos") as caught:
        open_dataset(spec, split="train", subjects=1)
    assert str(caught.value).startswith(spec)


def test_an_unknown_domain_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'office'.*lab@1, webcam@1, wild@1"):
        open_dataset("synthetic:office", split="train", subjects=1)


def test_an_unknown_split_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'dev'.*train, validation, test"):
        open_dataset("synthetic:webcam", split="dev", subjects=1)
