"""The site is complete in itself: built without a warning, read and searched without a network; its picture is true."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# what a browser loads by itself; a link that a reader may follow is none of it
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|use)\b[^>]*?\b(?:src|srcset|data|href)\s*=\s*["']?([^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel\s*=\s*["']?(?:stylesheet|icon|preload|prefetch|preconnect|dns-prefetch|modulepreload|manifest))"""
    r"""[^>]*?\bhref\s*=\s*["']?([^"'\s>]+)"""
)
STYLED = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    asked = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        asked, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    loaded = {(page.name, a or b) for page in pages for a, b in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert len(pages) > 30
    assert len(loaded) > len(pages)
    assert [found for found in loaded if ELSEWHERE.match(found[1])] == []


def test_no_style_and_no_picture_loads_anything_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.css"), *site.rglob("*.html"), *site.rglob("*.svg")]
    found = {(file.name, url) for file in files for url in STYLED.findall(file.read_text(encoding="utf-8"))}
    assert [(name, url) for name, url in found if ELSEWHERE.match(url)] == []


def test_no_page_asks_the_theme_for_what_it_would_fetch(site: Path) -> None:
    """The theme's script knows two addresses: of diagrams (class mermaid), and of a repository's figures."""
    told = [
        page.name
        for page in site.rglob("*.html")
        if re.search(r'class="mermaid"|data-md-component="source"', page.read_text(encoding="utf-8"))
    ]
    assert told == []


def test_what_is_loaded_is_there(site: Path) -> None:
    missing = [
        (page.name, target)
        for page in site.rglob("*.html")
        if page.name != "404.html"  # it stands for every address, so its own are absolute
        for a, b in LOADED.findall(page.read_text(encoding="utf-8"))
        if not (target := (a or b).partition("?")[0].partition("#")[0]).startswith("data:")
        if not (page.parent / target).is_file()
    ]
    assert missing == []


def test_the_search_reads_from_a_folder(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    assert "xxhash64" in index
    # from a folder the theme's script loads the index so, and its worker by the class that ours defines
    [script] = (site / "assets" / "javascripts").glob("bundle.*.js")
    assert "search/search_index.js" in script.read_text(encoding="utf-8")
    assert 'src="assets/iframe-worker.js"' in (site / "index.html").read_text(encoding="utf-8")


def test_the_picture_has_the_layers_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    drawn = re.findall(r'<text class="layer"[^>]*>([^<]+)<', (ROOT / "docs" / "house.svg").read_text(encoding="utf-8"))
    named = [part.strip() for layer in layers for part in layer.split("|")]
    assert [part.strip() for band in drawn for part in band.split(",")] == named
