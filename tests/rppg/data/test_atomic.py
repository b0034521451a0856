"""Files that are there whole or not at all."""

import errno
import pickle
import stat
from pathlib import Path

import pytest

from rppg.atomic import atomic_folder, atomic_path
from rppg.errors import WriteError


def test_the_new_content_replaces_the_old_and_folders_are_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "out.json"
    for text in ("first", "second"):
        with atomic_path(file) as temporary:
            assert temporary.parent == file.parent  # the same file system: the move is atomic
            assert temporary.suffix == file.suffix
            temporary.write_text(text)
        assert file.read_text() == text
    assert [p.name for p in file.parent.iterdir()] == ["out.json"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, error: type[BaseException]
) -> None:
    file = tmp_path / "out.bin"
    file.write_bytes(b"old")
    with pytest.raises(error), atomic_path(file) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    reported = pytest.raises(WriteError, match=r"out.txt: can't be written \(disk full\)")
    with reported, atomic_path(tmp_path / "out.txt") as temporary:
        temporary.write_text("x")
        raise OSError("disk full")
    assert not list(tmp_path.iterdir())


def test_what_fails_in_a_folder_is_told_of_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError) as caught,
        atomic_folder(tmp_path / "out") as folder,
        atomic_path(folder / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value).startswith(f"{tmp_path / 'out'}: can't be written (No space left")
    assert not list(tmp_path.iterdir())


def test_what_fails_elsewhere_is_not_told_of_the_output(tmp_path: Path) -> None:
    missing = tmp_path / "in" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "out" / "b.txt"):
        missing.read_text()
    assert caught.value.filename == str(missing)


def test_an_output_that_cannot_be_written_crosses_processes(tmp_path: Path) -> None:
    error = WriteError(tmp_path, "Read-only file system")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == (str(error), error.reason)
