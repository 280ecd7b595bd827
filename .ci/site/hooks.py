# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What MkDocs is told beside `mkdocs.yml`: pages lie all over the repository, and some are made here.

Links between files of the repository stay as they are written: a link to a page leads to the page, one to another file
to a page that shows it, and one to what the reference is made of to the reference.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command_line
import reference
import service_interface
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page


ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#:]+)(?=[#)])")
PICTURES = {".gif", ".jpg", ".mp4", ".png", ".svg"}
NOTEBOOK = ".ipynb.md"
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".json": "json", "": "text"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Gives headings the anchors that they have in the repository, and puts made pages into the navigation."""
    config.mdx_configs["toc"]["slugify"] = anchor
    (section,) = [entry["Reference"] for entry in config.nav if "Reference" in entry]
    section[1:1] = [{page.title: page.path} for page in made_pages()]
    return config


def anchor(heading: str, separator: str = "-") -> str:
    """What a link to a heading says after `#`, as GitHub has it.

    Args:
        heading (`str`): The heading.
        separator (`str`, *optional*, defaults to `"-"`): What stands for a space.

    Returns:
        `str`: The anchor.
    """
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what the navigation names, what is made, and what these pages link to."""
    made = {page.path: page for page in made_pages()}
    for path in entries(config.nav):
        if path in made:
            files.append(File.generated(config, path, content=made[path].text))
        elif path.endswith(NOTEBOOK):
            files.append(File.generated(config, path, content=notebook(ROOT / path.removesuffix(".md"))))
        elif (ROOT / path).is_file():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for page in list(files.documentation_pages()):
        for path in linked(page.content_string, page.src_uri):
            target = page_of(path)
            if target in files.src_uris:
                continue
            if Path(path).suffix in PICTURES:
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
            elif target != path:
                files.append(
                    File.generated(config, target, content=source_page(path), inclusion=InclusionLevel.NOT_IN_NAV)
                )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to other files into links to their pages."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # which would have one line
    folder = posixpath.dirname(page.file.src_uri)

    def to_page(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found["target"]))
        if not (ROOT / path).exists():
            return found["target"]
        return posixpath.relpath(page_of(path), folder or ".")

    return LINK.sub(to_page, markdown)


def entries(nav: list[Any]) -> Iterator[str]:
    """All paths of a navigation."""
    for entry in nav:
        for value in [entry] if isinstance(entry, str) else entry.values():
            yield from [value] if isinstance(value, str) else entries(value)


def made_pages() -> list[reference.MadePage]:
    """The pages of the reference."""
    return [*reference.room_pages(ROOT), command_line.page(), service_interface.page()]


def linked(text: str, place: str) -> Iterator[str]:
    """Files of the repository that a page links to, by their path from its root."""
    for found in LINK.finditer(text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place), found["target"]))
        if (ROOT / path).is_file():
            yield path


def page_of(path: str) -> str:
    """The page that stands for a file: itself, a part of the reference, or one that shows it."""
    if path in reference.MADE_OF:
        return reference.MADE_OF[path]
    if Path(path).suffix in {".md", *PICTURES}:
        return path
    return f"{path}.md"


def source_page(path: str) -> str:
    """A page that shows a file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"# {path}\n\n~~~~~~{language}\n{text.rstrip()}\n~~~~~~\n"


def notebook(path: Path) -> str:
    """A notebook as a page, without what its cells print: run it to see that."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts)
