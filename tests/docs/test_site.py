# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The documentation site: built strictly, complete in itself, and looked at in a browser.

`CATSEG_SCREENSHOTS=1` writes the pictures that lie beside this file anew; otherwise they are only checked.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.chromium import TIMEOUT, chromium
from tests.docs.test_documentation import pages


ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("mkdocs", reason='needs the extra "docs"')
# What a browser fetches by itself.
FETCHED = re.compile(r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=\"([^\"]+)\"|<link\b[^>]*\bhref=\"([^\"]+)\"")
Visit = Callable[..., Page]


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("documentation") / "site"
    built = build(ROOT, site)
    assert built.returncode == 0, built.stderr
    return site


def html(site: Path, page: str) -> str:
    """What the site shows of a Markdown file."""
    folder = site / page.removesuffix("README.md").removesuffix(".md")
    text = (folder / "index.html").read_text(encoding="utf-8")
    (article,) = re.findall(r"<article.*?</article>", text, re.DOTALL)
    return article


def test_what_is_wrong_with_pages_ends_the_build(tmp_path: Path) -> None:
    for name in (".ci", "catseg_hf", "convert", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    for path in (*ROOT.glob("*.md"), ROOT / "LICENSE", ROOT / "mkdocs.yml"):
        shutil.copy(path, tmp_path)
    with open(tmp_path / "SECURITY.md", "a") as file:
        file.write("\n[one](no-such-page.md) [two](README.md#no-such-heading) [three](LICENCE)\n")
    code = tmp_path / "catseg_hf" / "vocabularies" / "__init__.py"
    text = code.read_text().replace('    """Names that [`load_vocabulary`] knows.', '    f"""Names that are known.')
    code.write_text(text.replace('"""Class names of a data set,', '"""Class names of a [`no_such_name`],'))
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    for problem in (
        "'no-such-page.md'",
        "anchor '#no-such-heading'",
        "'LICENCE'",
        "without a docstring: catseg_hf.vocabularies.available_vocabularies",
        "refers to `no_such_name`",
    ):
        assert problem in built.stderr
    assert built.stderr.count("WARNING") == 5


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    fetched = [
        source for path in site.rglob("*.html") for found in FETCHED.findall(path.read_text()) for source in found
    ]
    assert len(fetched) > 100
    assert [source for source in fetched if re.match(r"(https?:)?//", source)] == []
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")) == [], path


def test_the_reference_shows_what_people_look_up(site: Path) -> None:
    model = (site / "reference" / "model" / "index.html").read_text(encoding="utf-8")
    assert 'id="catseg_hf.CatSegConfig"' in model and 'id="catseg_hf.CatSegModel.forward"' in model
    assert "class_padding_length" in model and "defaults to 256" in model
    # Names in docstrings are links, and none is left as it stands in the code.
    assert re.search(r'<a [^>]*href="#catseg_hf.CatSegModel[^"]*"[^>]*><code>CatSegModel</code>', model)
    for path in (site / "reference").rglob("*.html"):
        assert not re.search(r"\[<code>\w+</code>\]", path.read_text(encoding="utf-8")), path


def test_pages_have_the_lists_and_tables_that_they_have_in_the_repository(site: Path) -> None:
    render = MarkdownIt("commonmark").enable("table").render
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    compared = [name for name in pages(nav) if not name.endswith(".ipynb.md")]
    assert len(compared) > 20
    for name in compared:
        text = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        here, there = render(text), html(site, name)
        for tag in ("h2", "h3", "li", "tr", "pre", "img", "strong", "em"):
            assert here.count(f"<{tag}") == len(re.findall(rf"<{tag}[ >]", there)), (name, tag)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(address: str, browser: Browser) -> Iterator[Visit]:
    """Opens a page as a new visitor, who may see only this server, and no error."""
    contexts, urls, problems = [], [], []

    def visit(path: str, width: int, height: int, scheme: str) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        context.on("request", lambda request: urls.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(address + path, wait_until="networkidle")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert len(urls) > 3 and {url for url in urls if not url.startswith((address, "data:", "blob:"))} == set()
    assert problems == []


@pytest.mark.parametrize(
    ("picture", "path", "size", "scheme"),
    [
        ("home", "", (1280, 900), "light"),
        ("reference-dark", "reference/model/#catseg_hf.CatSegConfig", (1280, 900), "dark"),
        ("page-on-a-phone", "examples/segmenting/", (390, 844), "light"),
    ],
)
def test_pages_look_as_they_should(
    visit: Visit, picture: str, path: str, size: tuple[int, int], scheme: str, tmp_path: Path
) -> None:
    page = visit(path, *size, scheme)
    expect(page.locator("h1").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 3 * 128) == (scheme == "dark")
    kept = Path(__file__).with_name(f"{picture}.jpg")
    taken = kept if os.environ.get("CATSEG_SCREENSHOTS") else tmp_path / kept.name
    page.screenshot(path=taken, type="jpeg", quality=80)
    assert Image.open(kept).size == Image.open(taken).size == size
    assert kept.stat().st_size < 200_000


def test_the_search_finds_a_page_and_a_name(visit: Visit) -> None:
    page = visit("", 1280, 900, "light")
    for words, target in (("cost volume", "cost volume"), ("CatSegConfig", "CatSegConfig")):
        query = page.locator("input[name=query]")
        query.fill("")
        query.press_sequentially(words)  # the page listens to keys, from when its script has run
        expect(page.locator(".md-search-result__link").first).to_be_visible()
        expect(page.locator(".md-search-result__list").get_by_text(target, exact=False).first).to_be_visible()
    page.locator(".md-search-result__link").first.click()
    page.wait_for_url(re.compile("CatSegConfig|reference|examples"))


def test_the_switch_makes_it_dark_and_it_stays_so(visit: Visit) -> None:
    page = visit("", 1280, 900, "light")
    assert page.locator("body").get_attribute("data-md-color-scheme") == "default"
    page.locator("label[title='Switch to dark']").click()
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
    page.get_by_role("link", name="Guides").first.click()
    page.wait_for_url("**/examples/**")
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")


@pytest.mark.parametrize(
    "path", ["reference/command_line/", "reference/http/", "examples/robustness/", "examples/speed/"]
)
def test_wide_pages_do_not_scroll_sideways_on_a_phone(visit: Visit, path: str) -> None:
    page = visit(path, 390, 844, "light")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
