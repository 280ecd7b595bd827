# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The pages of the reference: one for each room of the package, with every name that it exports."""

import ast
import re
from dataclasses import dataclass
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
    "onnx": "ONNX",
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
        room = "" if file.parent.name == PACKAGE else file.parent.name
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                paths = {name: _path(name, file.parent, root) for name in ast.literal_eval(node.value)}
                rooms[room] = Room(ast.get_docstring(tree) or "", paths)
    return [_page(room, rooms) for room in sorted(rooms, key=list(TITLES).index)]


@dataclass(frozen=True)
class Room:
    """What a room exports.

    Args:
        description (`str`): Its docstring.
        paths (`dict[str, str]`): Under which path each name is shown.
    """

    description: str
    paths: dict[str, str]


def _path(name: str, folder: Path, root: Path) -> str:
    # A module of the same name would be shown in the place of what it holds.
    parts = [*folder.relative_to(root).parts, *([name] if (folder / f"{name}.py").exists() else []), name]
    return ".".join(parts)


def _page(room: str, rooms: dict[str, Room]) -> MadePage:
    paths = rooms[room].paths
    described = REFERENCE.sub(lambda found: f"[{found[1]}][{paths[found[2]]}]", rooms[room].description)
    introduction = f"Import these names from `{PACKAGE}{room and '.'}{room}`."
    if not room:
        # What rooms export as well is shown there; of two rooms, the one that comes first is meant.
        others = {name: path for other in reversed(TITLES) if other for name, path in rooms[other].paths.items()}
        there = [f"[`{name}`][{others[name]}]" for name in paths if name in others]
        introduction += f" {', '.join(there)} are among them, and shown on pages of their own."
        paths = {name: path for name, path in paths.items() if name not in others}
    parts = [f"# {TITLES[room]}", described, introduction, *(f"::: {path}" for path in paths.values())]
    return MadePage(page_path(room), TITLES[room], "\n\n".join(parts) + "\n")
