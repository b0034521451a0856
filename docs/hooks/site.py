"""What MkDocs doesn't do by itself: equations, text that stands elsewhere, links out of `docs/`."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

OPTIONAL = (
    "reliability.md",
    "how-to/export.md",
    "how-to/many-machines.md",
    "how-to/resume.md",
)
"""Pages that are in the navigation once they are in `docs/`."""

COMMANDS = "<!-- commands -->"
SECTION = re.compile(r"<!-- README: (.*?) -->")
"""Where a page shows what stands elsewhere."""

SHOWN = {("README.md", "#what-it-reaches"): "what-it-reaches.md"}
"""Which page shows a section of a file at the root."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>',
    re.DOTALL,
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out of the navigation what is not written yet."""
    there = Path(config.docs_dir)
    config.nav = _without({page for page in OPTIONAL if not (there / page).exists()}, config.nav)
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what stands elsewhere; links that lead out of `docs/` become text."""
    root = Path(config.config_file_path).parent
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    markdown = SECTION.sub(lambda found: section_of(root / "README.md", found[1]), markdown)
    return with_links_inside(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Equations as MathML, which browsers draw without a script."""
    return EQUATION.sub(lambda found: mathml(unescape(found[2]), block=found[1] == "div"), html)


def mathml(latex: str, *, block: bool) -> str:
    """An equation as a `<math>` element.

    Raises:
        PluginError: it holds a command that the converter passed through as text.
    """
    if block and "&" in latex and r"\begin" not in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    found = convert(latex, display="block" if block else "inline")
    if "\\" in found:
        raise PluginError(f"an equation that can't be converted: {latex.strip()}")
    return found


def section_of(file: Path, title: str) -> str:
    """A section of a file at the root, its links as from `docs/`.

    Raises:
        PluginError: there is no such section.
    """
    text = file.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise PluginError(f"{file.name} has no section {title!r}, which a page of the site shows")
    return found[1].strip().replace("](docs/", "](")


def commands() -> str:
    """Every command and option, as Typer itself describes them."""
    command = [sys.executable, "-m", "typer", "rppg.cli", "utils", "docs", "--name", "rppg"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise PluginError(f"Typer could not describe the command line: {told.stderr}")
    return told.stdout.split("\n", 1)[1]  # without the title


def with_links_inside(markdown: str, source: str) -> str:
    """The page at `source`: the site holds `docs/` alone, so links out of it become text."""
    folder = PurePosixPath(source).parent
    up = "../" * len(folder.parts)

    def mend(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = normpath(f"{folder}/{target}")
        if not path.startswith("../"):
            return link.group()
        path = path.removeprefix("../")
        if (path, anchor) in SHOWN:
            return f"[{text}]({up}{SHOWN[path, anchor]})"
        return text if text.strip("`") in (path, path.removesuffix(".md")) else f"{text} (`{path}`)"

    return LINK.sub(mend, markdown)


def _without(missing: set[str], nav: Any) -> Any:
    """The navigation less some pages, and less sections that hold nothing else."""
    if isinstance(nav, list):
        return [kept for entry in nav if (kept := _without(missing, entry))]
    if isinstance(nav, dict):
        found = {title: _without(missing, entry) for title, entry in nav.items()}
        return {title: entry for title, entry in found.items() if entry}
    return None if nav in missing else nav
