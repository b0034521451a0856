"""The documentation site: it builds strictly, is complete, and loads nothing from other servers."""

import importlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
LOADS = {  # attributes that a browser fetches without a click
    "script": ["src"],
    "link": ["href"],
    "img": ["src", "srcset"],
    "source": ["src", "srcset"],
    "iframe": ["src"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "embed": ["src"],
    "object": ["data"],
    "use": ["href", "xlink:href"],
    "image": ["href", "xlink:href"],
}
QUIET_LINKS = {"canonical", "next", "prev"}  # not fetched by the browser
PUBLIC = [
    "gradreg",
    "gradreg.diagnostics",
    "gradreg.testing",
    "rppg.evaluation",
    "rppg.methods",
    "rppg.report",
    "rppg.signals",
    "rppg.video",
]
OUT_OF_NAVIGATION = ("research-log.html",)
THEME_ADDRESSES = {"unpkg.com/mermaid", "unpkg.com/resize-observer-polyfill", "api.github.com"}
"""Addresses that the theme's script fetches for diagrams, for browsers before 2020, and for a
repository's stars: no page may make it do so."""


class Page(HTMLParser):
    """A page: the URLs it loads, its links, anchors and CSS classes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.classes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        self.classes |= set(values.get("class", "").split())
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in QUIET_LINKS:
            return
        self.loads += [values[name] for name in LOADS.get(tag, []) if name in values]
        self.loads += re.findall(r"url\(([^)]+)\)", values.get("style", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the docs extra is not installed: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def is_elsewhere(url: str) -> bool:
    return bool(re.match(r"([a-z]+:)?//", url.strip("\"' ")))


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 25
    for file, page in pages.items():
        assert page.loads
        assert not [url for url in page.loads if is_elsewhere(url)], file
        assert "mermaid" not in page.classes  # the theme would fetch the script that draws them
        assert "md-source" not in page.classes  # nor a repository's stars
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        urls = re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')]+)", text)
        assert not [url for url in urls if is_elsewhere(url)], style


@pytest.mark.slow
def test_the_scripts_know_no_other_place(site: Path) -> None:
    addresses: set[str] = set()
    for script in site.rglob("*.js"):
        if script.name == "search_index.js":
            continue
        text = re.sub(r"/\*.*?\*/|//# source.*", "", script.read_text("utf-8"), flags=re.DOTALL)
        addresses |= set(re.findall(r"[\"'`]https?://([\w./-]+)", text))
    known = {url for url in addresses if any(url.startswith(start) for start in THEME_ADDRESSES)}
    names = {url for url in addresses - known if url.startswith("www.w3.org/")}  # XML namespaces
    assert addresses == known | names


@pytest.mark.slow
def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or file.name == "404.html":
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{file.relative_to(site)}: {link}"
            anchor = unquote(parts.fragment)
            if anchor and target.suffix == ".html" and not anchor.startswith("__"):
                assert anchor in pages[target].anchors, f"{file.relative_to(site)}: {link}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_reference(pages: dict[Path, Page], name: str) -> None:
    module = importlib.import_module(name)
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    for public in module.__all__:
        value = getattr(module, public)
        names = {f"{name}.{public}"}
        if hasattr(value, "__qualname__"):
            names.add(f"{value.__module__}.{value.__qualname__}")
        assert names & anchors, f"{name}.{public}"


@pytest.mark.slow
def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    typer = pytest.importorskip("typer")
    from rppg.cli import app

    text = (site / "reference/command-line.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        start = text.index(f'id="rppg-{name}"')
        section = text[start : text.find("<h2", start)]
        for parameter in command.params:
            if getattr(parameter, "hidden", False):  # a renamed option, for one version
                assert parameter.help.startswith("Old name of --"), f"rppg {name} {parameter.name}"
                continue
            for option in parameter.opts:
                assert option.upper() in section.upper(), f"rppg {name} {option}"


@pytest.mark.slow
def test_equations_are_drawn_by_the_browser(site: Path) -> None:
    """Equations of pages and docstrings are MathML; none is left in TeX."""
    drawn = {}
    for file in site.rglob("*.html"):
        html = file.read_text(encoding="utf-8")
        assert not re.search(r'class="arithmatex"|\.\. math::|:math:', html), file
        drawn[str(file.relative_to(site))] = html.count("<math ")
    assert drawn["explanation/three-levels.html"] > 20
    assert drawn["explanation/network.html"] > 5
    assert drawn["reference/gradreg.html"] > 20


@pytest.mark.slow
def test_text_from_elsewhere_is_filled_in(site: Path) -> None:
    assert "constant guess" in (site / "results.html").read_text(encoding="utf-8")
    assert "rppg predict" in (site / "reference/command-line.html").read_text(encoding="utf-8")
    for file in site.rglob("*.html"):
        assert not re.search(r"<!-- (commands|README: .*?) -->", file.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_search_finds_the_pages(site: Path) -> None:
    index = (site / "search/search_index.js").read_text(encoding="utf-8")
    for word in ("PostVerificationMask", "beamformer", "consent", "rppg synthesize"):
        assert word in index


@pytest.mark.slow
def test_every_page_is_in_the_navigation(pages: dict[Path, Page], site: Path) -> None:
    """Pages left out on purpose are linked from the results instead."""

    def linked_from(name: str) -> set[Path]:
        links = [urlsplit(link) for link in pages[site / name].links]
        return {(site / link.path).resolve() for link in links if not link.scheme}

    left_out = {site / name for name in OUT_OF_NAVIGATION}
    assert left_out <= linked_from("results.html")
    assert set(pages) - {site / "404.html"} - left_out <= linked_from("index.html")
