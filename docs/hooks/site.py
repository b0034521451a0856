"""Equations as MathML, the generated reference of the command line, links that leave `docs/`."""

import re
import subprocess
import sys
from html import unescape
from pathlib import PurePosixPath
from posixpath import normpath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

COMMANDS = "<!-- commands -->"
"""Replaced by the reference of the command line."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>',
    re.DOTALL,
)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert the reference of the command line; turn links that leave `docs/` into text."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_reference())
    return unlink_outside(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert equations to MathML, which browsers draw without a script."""
    return EQUATION.sub(lambda match: to_mathml(unescape(match[2]), block=match[1] == "div"), html)


def to_mathml(latex: str, *, block: bool) -> str:
    """Return an equation as a `<math>` element.

    Raises:
        PluginError: the equation has a command that the converter passed through as text.
    """
    if block and "&" in latex and r"\begin" not in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    html = convert(latex, display="block" if block else "inline")
    if "\\" in html:
        raise PluginError(f"an equation that can't be converted: {latex.strip()}")
    return html


def command_reference() -> str:
    """Return every command and option, as Typer describes them."""
    command = [sys.executable, "-m", "typer", "rppg.cli", "utils", "docs", "--name", "rppg"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise PluginError(f"Typer could not describe the command line: {process.stderr}")
    return process.stdout.split("\n", 1)[1]  # without the title


def unlink_outside(markdown: str, source: str) -> str:
    """Return the page at `source` with text for links to files that the site doesn't hold."""
    folder = PurePosixPath(source).parent

    def replace(link: re.Match[str]) -> str:
        text, target, _ = link.groups()
        path = normpath(f"{folder}/{target}")
        if not path.startswith("../"):
            return link.group()
        path = path.removeprefix("../")
        return text if text.strip("`") in (path, path.removesuffix(".md")) else f"{text} (`{path}`)"

    return LINK.sub(replace, markdown)
