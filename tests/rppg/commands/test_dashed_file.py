"""A file whose name begins with a dash: the error says how to name it."""

import pytest

from rppg.cli import main
from rppg.commands.dashed_file import hint_at_dashed_file


def test_the_error_hints_at_the_double_dash(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "-x.mp4"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "if -x.mp4 is a file, write -- before it, or ./-x.mp4; see rppg predict" in line


def test_only_files_are_hinted_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options in (["-j"], ["--rho=0.5"], ["--out=a.html"], ["-"], ["-1.5"], ["--", "-x.mp4"]):
        assert hint_at_dashed_file(["predict", "a.mp4", *options]) == ""
    (tmp_path / "-clip").touch()
    for name in ("-clip", "-a.3gp", "--a.MOV"):
        assert f"./{name}" in hint_at_dashed_file(["predict", name])
