"""Output without a terminal, and control characters in names."""

import pytest
from rich.console import Console

from rppg.commands import terminal


def test_where_stderr_is_no_terminal_a_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.0)
    with terminal.progress_bars() as bars:
        bars.loading(1, 4)
        bars.loading(2, 4)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "recordings: 1 of 4",
        "recordings: 2 of 4",
    ]
    with terminal.progress_bars(quiet=True) as bars:
        bars.loading(1, 4)
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 30.0)
    with terminal.progress_bars() as bars:
        bars.loading(1, 4)
    assert capsys.readouterr().err == ""


def test_letters_that_command_a_terminal_are_written_out() -> None:
    assert terminal.printable("a\x1b[2J\nü\u202e") == "a\\x1b[2J\nü\\u202e"
    assert terminal.printable("a\nb", keep="") == "a\\nb"


def test_a_changing_line_is_printed_now_and_then_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal.changing_line() as show:
        show("epoch 1 of 3")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(terminal, "STATUS_EVERY_S", 0.0)
        show("epoch [2] of 3")
        assert capsys.readouterr().err == "epoch [2] of 3\n"
    monkeypatch.setattr(terminal, "stderr", Console(stderr=True, force_terminal=True))
    with terminal.changing_line() as show:
        show("epoch [3] of 3")
    assert "epoch [3] of 3" in capsys.readouterr().err
