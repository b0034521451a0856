"""Synthetic recordings on disk: keyed, complete or rendered again, labels in files of their own."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rppg
from rppg.errors import InputError, WriteError
from rppg.synthetic import cache
from rppg.synthetic.cache import SPLITS, cache_folder, find_domain, synthetic_recordings
from rppg.synthetic.domains import DOMAINS

SHORT_S = 2.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the subjects that were rendered rather than read."""
    numbers: list[int] = []
    render_one: Callable[..., None] = cache._render_one

    def noting(domain: object, number: int, *rest: object) -> None:
        numbers.append(number)
        render_one(domain, number, *rest)

    monkeypatch.setattr(cache, "_render_one", noting)
    return numbers


def test_the_second_call_reads_what_the_first_rendered(folder: Path, rendered: list[int]) -> None:
    first = synthetic_recordings("webcam", "train", 2, duration_s=SHORT_S)
    frames = [r.load_crops().frames for r in first]
    assert sorted(rendered) == [0, 1]
    files = {p: p.stat().st_mtime_ns for p in folder.rglob("*.npz")}
    assert len(files) == 4
    again = synthetic_recordings("webcam@1", "train", 2, duration_s=SHORT_S)
    assert sorted(rendered) == [0, 1]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.npz")} == files
    for recording, expected in zip(again, frames, strict=True):
        np.testing.assert_array_equal(recording.load_crops().frames, expected)
    assert [r.name for r in again] == ["webcam-0", "webcam-1"]


def test_more_subjects_render_only_what_is_missing_and_report_it(rendered: list[int]) -> None:
    synthetic_recordings("lab", "validation", 1, duration_s=SHORT_S)
    seen: list[tuple[int, int]] = []
    synthetic_recordings(
        "lab", "validation", 3, duration_s=SHORT_S, progress=lambda i, n: seen.append((i, n))
    )
    start = SPLITS["validation"]
    assert rendered[0] == start
    assert sorted(rendered[1:]) == [start + 1, start + 2]
    assert seen == [(1, 2), (2, 2)]


def test_domain_duration_and_code_are_in_the_key(
    rendered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def file() -> int:
        synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
        return len(rendered)

    assert file() == 1
    (longer,) = synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S + 1)
    assert len(rendered) == 2
    assert longer.load_crops().duration_s == pytest.approx(SHORT_S + 1)
    monkeypatch.setattr(cache, "_code_digest", lambda: "other code")
    assert file() == 3
    monkeypatch.undo()


def test_a_comment_keeps_the_key_and_code_changes_it(tmp_path: Path) -> None:
    package = tmp_path / "rppg"
    shutil.copytree(
        Path(rppg.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    digests = []
    for module, text in (
        ("synthetic/render.py", ""),
        ("synthetic/render.py", "# a comment"),
        ("video/encode.py", '"""A docstring."""'),
        ("video/track.py", "CHANGED = True"),
        ("video/encode.py", "CHANGED = True"),
        ("synthetic/render.py", "CHANGED = True"),
    ):
        with (package / module).open("a") as file:
            file.write(f"\n{text}\n")
        cache._code_digest.cache_clear()
        digests.append(cache._code_digest(package))
    assert digests[0] == cache._code_digest()
    assert len(set(digests[:4])) == 1 and len(set(digests[3:])) == 3


def test_the_code_that_films_is_in_the_key_of_filmed_recordings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "rppg"
    shutil.copytree(
        Path(rppg.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    filmed = [cache._filmed_digest(package)]
    for module in ("synthetic/filmed/sensor.py", "video/transcode.py", "synthetic/render.py"):
        with (package / module).open("a") as file:
            file.write("\nCHANGED = True\n")
        cache._filmed_digest.cache_clear()
        filmed.append(cache._filmed_digest(package))
        cache._code_digest.cache_clear()
        assert (cache._code_digest(package) == cache._code_digest()) == ("render" not in module)
    assert len(set(filmed[:3])) == 3 and filmed[2] == filmed[3]
    stream, lab = (
        cache._file(find_domain(name), 0, 20.0, cache.PLAIN) for name in ("stream", "lab")
    )
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_filmed_digest", lambda: "other code")
        assert cache._file(find_domain("stream"), 0, 20.0, cache.PLAIN) != stream
        assert cache._file(find_domain("lab"), 0, 20.0, cache.PLAIN) == lab


def test_recordings_of_other_versions_are_listed_and_kept(folder: Path) -> None:
    synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
    assert cache.stale_recordings() == []
    for name in ("webcam@1-0123456789ab", "0123456789ab", "mine"):
        (folder / "synthetic" / name).mkdir()
    first, second = cache.stale_recordings()
    assert first.startswith(f"{folder / 'synthetic' / '0123456789ab'}: 0.0 MB from another")
    assert "webcam@1-0123456789ab" in second
    synthetic_recordings("webcam", "train", 2, duration_s=SHORT_S)
    assert len(cache.stale_recordings()) == 2


def test_a_changed_domain_is_rendered_anew(
    rendered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic_recordings("lab", "train", 1, duration_s=SHORT_S)
    changed = DOMAINS["lab"].__class__(**{**DOMAINS["lab"].__dict__, "pulse": (0.02, 0.02)})
    monkeypatch.setitem(DOMAINS, "lab", changed)
    synthetic_recordings("lab", "train", 1, duration_s=SHORT_S)
    assert rendered == [0, 0]


@pytest.mark.parametrize("lost", ["truth", "images"])
def test_a_half_written_recording_is_rendered_again(
    folder: Path, rendered: list[int], lost: str
) -> None:
    (recording,) = synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
    crops, truth = recording.load_crops(), recording.load_truth()
    for file in folder.rglob("*.npz"):
        if file.name.endswith(".truth.npz") == (lost == "truth"):
            file.unlink()
    (again,) = synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
    assert rendered == [0, 0]
    np.testing.assert_array_equal(again.load_crops().frames, crops.frames)
    np.testing.assert_array_equal(again.load_truth().bvp, truth.bvp)


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("lost", ["truth", "images"])
def test_a_damaged_recording_is_rendered_again(
    folder: Path, rendered: list[int], lost: str, every: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One bit anywhere in it, or the file cut anywhere: no other images, no other truth."""
    (recording,) = synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
    crops, truth = recording.load_crops(), recording.load_truth()
    (file,) = (
        f for f in folder.rglob("*.npz") if f.name.endswith(".truth.npz") == (lost == "truth")
    )
    intact = file.read_bytes()
    random = np.random.default_rng(0)
    anywhere = random.integers(len(intact), size=20)
    among_the_names = random.integers(len(intact) - 500, len(intact), size=60)
    for number, position in list(enumerate([*anywhere, *among_the_names]))[::every]:
        damaged = bytearray(intact)
        damaged[position] ^= 1 << number % 8
        file.write_bytes(intact[:position] if number % 2 else damaged)
        caplog.clear()
        before = len(rendered)
        np.testing.assert_array_equal(recording.load_crops().frames, crops.frames)
        np.testing.assert_array_equal(recording.load_truth().bvp, truth.bvp)
        assert len(rendered) == before + len(caplog.messages)
        if number % 2:
            assert f"{file}: can't be used" in caplog.text


def test_an_error_while_rendering_surfaces_and_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(cache.np, "savez", fail)
    with pytest.raises(WriteError, match="disk full"):
        synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
    assert not [p for p in folder.rglob("*") if p.is_file()]


def test_pictures_do_not_hold_the_label(folder: Path) -> None:
    (recording,) = synthetic_recordings("webcam", "train", 1, duration_s=SHORT_S)
    (images,) = (p for p in folder.rglob("*.npz") if not p.name.endswith(".truth.npz"))
    with np.load(images) as stored:
        assert sorted(stored) == ["frames", "is_key", "times_s", "valid"]
    for truth in folder.rglob("*.truth.npz"):
        truth.unlink()
    assert recording.load_crops().valid.all()  # readable without it
    with pytest.raises(FileNotFoundError):
        recording.load_truth()


def test_splits_are_disjoint_subjects() -> None:
    names = {
        split: {r.subject for r in synthetic_recordings("webcam", split, 3, duration_s=SHORT_S)}
        for split in SPLITS
    }
    assert [len(s) for s in names.values()] == [3, 3, 3]
    assert len(set.union(*names.values())) == 9
    starts = sorted(SPLITS.values())
    assert min(b - a for a, b in itertools.pairwise(starts)) >= 10_000


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("RPPG_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "rppg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "rppg"


@pytest.mark.parametrize("name", ["office", "", "webcam@2", "webcam@", "@1", "Webcam"])
def test_an_unknown_domain_or_version_is_named(name: str) -> None:
    with pytest.raises(InputError, match="lab@1, webcam@1, codec@1, mobile@1, wild@1") as caught:
        find_domain(name)
    assert repr(name) in str(caught.value)


def test_a_domain_is_found_with_and_without_its_version() -> None:
    for domain in DOMAINS.values():
        assert find_domain(domain.name) is find_domain(domain.key) is domain
