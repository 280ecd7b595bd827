# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The pages of the reference: one for each room of the package, with every name that it exports."""

import ast
import re
from pathlib import Path

from made_page import MadePage


PACKAGE = "catseg_hf"
REFERENCE = re.compile(r"\[(`(\w+)`)\]")
# Titles of the pages, in the order of the navigation.
TITLES = {
    "": "The model",
    "segmenting": "Segmenting",
    "vocabularies": "Vocabularies",
    "pictures": "Pictures",
    "formats": "Formats",
    "large_images": "Large images",
    "datasets": "Data sets",
    "evaluation": "Evaluation",
    "training": "Training",
    "conversion": "Conversion",
    "hub": "Models by name",
    "cards": "Model cards",
    "scenes": "Drawn scenes",
    "service": "The service in Python",
}


def page_path(room: str) -> str:
    """Where a room's page lies."""
    return f"reference/{room or 'model'}.md"


# What a link to a file of the repository leads to, where a page of the reference is made of it.
MADE_OF = {f"{PACKAGE}/{room}/__init__.py".replace("//", "/"): page_path(room) for room in TITLES} | {
    f"{PACKAGE}/cli.py": "reference/command_line.md",
    f"{PACKAGE}/service/api.py": "reference/http.md",
}


def room_pages(root: Path) -> list[MadePage]:
    """The pages of all rooms that export something.

    Args:
        root (`Path`): Of the repository.

    Returns:
        `list[MadePage]`

    Raises:
        KeyError: If a room has no title above.
    """
    rooms = {}
    for file in sorted((root / PACKAGE).glob("**/__init__.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and _is_all(node)]
        if lists:
            room = "" if file.parent.name == PACKAGE else file.parent.name
            rooms[room] = (ast.get_docstring(tree) or "", ast.literal_eval(lists[0]))
    order = list(TITLES)
    return [_page(room, rooms) for room in sorted(rooms, key=order.index)]


def _is_all(node: ast.Assign) -> bool:
    return ast.unparse(node.targets[0]) == "__all__"


def _page(room: str, rooms: dict[str, tuple[str, list[str]]]) -> MadePage:
    description, names = rooms[room]
    module = f"{PACKAGE}.{room}".rstrip(".")
    paths = {name: _path(name, room, rooms) for name in names}
    described = REFERENCE.sub(lambda found: f"[{found[1]}][{paths[found[2]]}]", description)
    lines = [f"# {TITLES[room]}", described, f"Import these names from `{module}`."]
    elsewhere = [f"[`{name}`][{path}]" for name, path in paths.items() if path.rpartition(".")[0] != module]
    if room:
        lines += [f"::: {path}" for path in paths.values()]
    else:
        lines[-1] += f" {', '.join(elsewhere)} are there as well, and on pages of their own."
        lines += [f"::: {path}" for name, path in paths.items() if path == f"{PACKAGE}.{name}"]
    return MadePage(page_path(room), TITLES[room], "\n\n".join(lines) + "\n")


def _path(name: str, room: str, rooms: dict[str, tuple[str, list[str]]]) -> str:
    """The path under which a name is shown: that of its room, where it has one."""
    others = [other for other in TITLES if other and name in rooms[other][1]]
    room = room or next(iter(others), "")
    return f"{PACKAGE}.{room}.{name}" if room else f"{PACKAGE}.{name}"
