"""The digest of code: what it depends on, and what not."""

from pathlib import Path

import pytest

from rppg.code_digest import digest_code

SOURCE = '"""A module."""\n\n\ndef half(x):\n    """Return half."""\n    return x / 2\n'


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (SOURCE.replace("Return half", "Halve"), True),
        (SOURCE.replace("    return", "    # by two\n\n    return"), True),
        (SOURCE.replace("x / 2", "(x / 2)"), True),
        (SOURCE.replace("/ 2", "/ 3"), False),
        (SOURCE + "\n\nhalf.unit = 's'\n", False),
    ],
)
def test_only_code_counts(tmp_path: Path, text: str, same: bool) -> None:
    write(tmp_path, "a/one.py", SOURCE)
    before = digest_code([tmp_path / "a"], root=tmp_path)
    write(tmp_path, "a/one.py", text)
    assert (digest_code([tmp_path / "a"], root=tmp_path) == before) == same


def test_names_order_and_place(tmp_path: Path) -> None:
    for root in ("here", "there"):
        write(tmp_path / root, "a/one.py", SOURCE)
        write(tmp_path / root, "a/aside/two.py", SOURCE)
        write(tmp_path / root, "b.py", SOURCE)
    here, there = tmp_path / "here", tmp_path / "there"
    digest = digest_code([here / "a", here / "b.py"], root=here)
    assert digest_code([there / "b.py", there / "a"], root=there) == digest
    without = digest_code([here / "a", here / "b.py"], root=here, without=["aside"])
    write(here, "a/aside/two.py", "print()\n")
    assert digest_code([here / "a", here / "b.py"], root=here, without=["aside"]) == without
    (here / "b.py").rename(here / "a" / "b.py")
    assert digest_code([here / "a"], root=here, without=["aside"]) != without
    with pytest.raises(FileNotFoundError):
        digest_code([here / "gone.py"], root=here)
