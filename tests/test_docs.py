"""The code and the commands in the documentation.

Every Python block runs; the blocks of one page share their names. A block titled
`title="needs lightning"` is left out if that library is missing, and the test is then skipped at
its end. A block titled `title="several processes"` runs in a process group of one.

Every command in a shell block exists and has the options used. The tutorials' commands are run and
print the output shown below them.
"""

import csv
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch.distributed as dist
import typer

from rppg.cli import UsageError, app

ROOT = Path(__file__).parents[1]
NEEDS_FILES = "face.mp4"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
SHELL = re.compile(r"```bash\n(.*?)```(?:\n+```text\n(.*?)```)?", re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:rppg|make) [^`\n]+)`")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
SECONDS = re.compile(r"\d+\.\d+ s:")  # of training; those of a window have no colon
BLOCK = re.compile(r'```python(?: title="([^"]*)")?\n(.*?)```', re.DOTALL)


@contextmanager
def process_group(folder: Path) -> Iterator[None]:
    """Open a process group of one process."""
    rendezvous = (folder / "rendezvous").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"page_{page.stem}")  # a real module, so that its classes pickle
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    missing: set[str] = set()
    for title, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        needed = title.removeprefix("needs ") if title.startswith("needs ") else None
        if NEEDS_FILES in block:
            continue
        if needed is not None and importlib.util.find_spec(needed) is None:
            missing.add(needed)
            continue
        code = compile(block, str(page), "exec")
        if title == "several processes":
            with process_group(tmp_path):
                exec(code, names)
        else:
            exec(code, names)
    if missing:
        pytest.skip(f"the blocks that need {', '.join(sorted(missing))} did not run")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def commands_in(shell: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell block, up to a redirection."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;"):
                if words:
                    yield words
                words, redirected = [], False
            elif set(word) <= set("<>"):
                redirected = True
            elif not redirected:
                words.append(word)


def check_command(words: list[str]) -> None:
    """Raise UsageError, or fail, if a command doesn't exist as it is written."""
    match words:
        case ["rppg", "--help" | "--version"]:
            pass
        case ["rppg", name, *arguments]:
            command = typer.main.get_command(app).commands[name]
            if "--help" not in arguments:
                command.make_context(name, arguments)
        case ["python", "-m", "rppg.train", *arguments]:
            check_command(["rppg", "train", *arguments])
        case ["torchrun", *launch] if "rppg.train" in launch:
            check_command(["rppg", "train", *launch[launch.index("rppg.train") + 1 :]])
        case ["python", "-m", module, *_] if module.startswith("benchmarks"):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
        case ["make", target, *_]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
        case ["pip", "install", *what]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
            for extra in re.findall(r"[\w-]+", " ".join(re.findall(r"\[(.*?)\]", " ".join(what)))):
                assert extra in project["project"]["optional-dependencies"], extra


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    for block, _ in SHELL.findall(page.read_text(encoding="utf-8")):
        for words in commands_in(block):
            try:
                check_command(words)
            except UsageError as error:
                pytest.fail(f"{page.name}: {shlex.join(words)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_prose_exist(page: Path) -> None:
    """Commands in a sentence are often incomplete: only command and options are checked."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for text in INLINE.findall(prose):
        program, name, *rest = text.split()
        if program == "make":
            check_command([program, name])
        elif not name.startswith("-") and name.islower():
            command = typer.main.get_command(app).commands[name]
            known = {"--help", *(option for p in command.params for option in p.opts)}
            options = {word.rstrip(".,") for word in rest if word.startswith("--")}
            assert options <= known, f"{page.name}: `{text}`"


@pytest.mark.parametrize(
    "wrong",
    ["rppg predict face.mp4 --methd pos", "rppg train --epochs", "rppg evaluate && rppg datasets"],
)
def test_a_wrong_command_is_seen(wrong: str) -> None:
    with pytest.raises(UsageError):
        for words in commands_in(wrong):
            check_command(words)


def assert_printed(expected: str, printed: str) -> None:
    """Check that the output starts with the expected lines; numbers may differ slightly."""
    lines = printed.splitlines()
    for pair in zip(expected.splitlines(), lines, strict=False):
        line, other = (SECONDS.sub("", text).rstrip() for text in pair)
        assert NUMBER.sub("#", line) == NUMBER.sub("#", other), printed
        for a, b in zip(NUMBER.findall(line), NUMBER.findall(other), strict=True):
            assert float(b) == pytest.approx(float(a), rel=0.1, abs=0.3), printed
    assert len(lines) >= len(expected.splitlines()), printed


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorials_print_what_they_say(page: Path, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    text = page.read_text(encoding="utf-8")
    for block, output in SHELL.findall(text):
        run = subprocess.run(
            ["bash", "-euc", block],
            cwd=tmp_path,
            env=environment | {"RPPG_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{block}{run.stderr}"
        assert_printed(output, run.stdout)
    for scores in tmp_path.rglob("scores.csv"):
        assert_scores(text, scores)


def assert_scores(text: str, scores: Path) -> None:
    """Check the tutorial's table against the scores that `rppg evaluate` wrote."""
    with scores.open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    shown = re.findall(r"^\| .*? \| (\S+) ± (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert len(shown) == len(written)
    for row, numbers in zip(written, shown, strict=True):
        for key, number in zip(("mae_bpm", "mae_bpm_se", "pearson_r"), numbers, strict=True):
            assert float(row[key]) == pytest.approx(float(number), rel=0.1, abs=0.3), row["method"]
