# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Docstrings of public names as Markdown: sections, links to other names, and a warning for each name without one."""

import logging
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import griffe


log = logging.getLogger("mkdocs.hooks.docstrings")
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example):\n", flags=re.MULTILINE)
TITLES = {"Args": "Arguments"}
ITEM = re.compile(r"(?P<names>[^(:]+?)(?: \((?P<kind>.*)\))?:(?: (?P<text>.*))?$")
REFERENCE = re.compile(r"\[`([\w.]+)`\](?!\[)")
# What a person calls that has a name with underscores.
CALLED = {"__call__", "__getitem__", "__iter__"}


def public_names(package: griffe.Module) -> dict[str, list[str]]:
    """What each room exports, by its path; names that the package itself exports too are listed with both."""
    rooms = [package, *(module for module in package.modules.values() if module.is_subpackage)]
    return {room.path: [str(name) for name in room.exports] for room in rooms if room.exports}


def public_members(item: griffe.Object) -> Iterator[griffe.Object]:
    """Methods and properties that are shown of a class."""
    if item.is_class:
        for name, member in item.members.items():
            is_public = not name.startswith("_") or name in CALLED
            if is_public and not member.is_alias and (member.is_function or "property" in member.labels):
                yield member


def comment_above(item: griffe.Object) -> str:
    """What stands above a constant, or an empty string."""
    lines = item.module.filepath.read_text(encoding="utf-8").splitlines()[: item.lineno - 1]
    comment: list[str] = []
    while lines and lines[-1].startswith("# "):
        comment.insert(0, lines.pop()[2:])
    return " ".join(comment)


def _items(text: str) -> str:
    """A section's entries as a list."""
    entries: list[str] = []
    for line in textwrap.dedent(text).strip().splitlines():
        if not line or line.startswith(" "):
            entries.append(line)
            continue
        found = ITEM.match(line)
        if found is None:
            entries.append(f"- {line}")
            continue
        names = ", ".join(f"`{name.strip('`')}`" for name in found["names"].split(", "))
        kind = f" ({found['kind']})" if found["kind"] else ""
        entries.append(f"- **{names}**{kind}: {found['text'] or ''}".rstrip())
    return "\n".join(entries)


def markdown_of(docstring: str) -> str:
    """A docstring with its sections as Markdown.

    Args:
        docstring (`str`): As it is in the code.

    Returns:
        `str`: Markdown.
    """
    head, *parts = SECTION.split(docstring)
    result = [head.strip()]
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        # What follows a section without being indented belongs to the text again.
        inside = re.match(r"(?:(?: .*)?\n|(?: .*)$)*", text)[0] if name != "Example" else text
        rest = text[len(inside) :].strip()
        body = textwrap.dedent(inside).strip() if name in ("Returns", "Yields", "Example") else _items(inside)
        result += [f"**{TITLES.get(name, name)}**", body.replace("```python\n>>>", "```pycon\n>>>"), rest]
    return "\n\n".join(part for part in result if part)


class Docstrings(griffe.Extension):
    """Makes Markdown of the docstrings of what is public."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Changes them, once everything is read."""
        if pkg.path != "catseg_hf":
            return
        shown: set[str] = set()
        items = []
        for room, names in public_names(pkg).items():
            for name in names:
                # A module and what it holds can have one name: what is imported counts.
                item = pkg.modules_collection[pkg.modules_collection[room].imports.get(name, f"{room}.{name}")]
                item = item.final_target if item.is_alias else item
                if item.path not in shown:
                    items.append(item)
                    shown |= {item.path, *(member.path for member in public_members(item))}
        for item in items:
            if item.is_attribute and not item.has_docstring and (comment := comment_above(item)):
                item.docstring = griffe.Docstring(comment, parent=item)
            if item.is_class and "__doc__" in item.members:  # another class's, changed
                other = pkg.modules_collection[item.resolve(str(item.members["__doc__"].value).partition(".")[0])]
                item.docstring = griffe.Docstring(other.docstring.value, parent=item)
            for each in (item, *public_members(item)):
                if not each.has_docstring:
                    log.warning("%s:%s: public, but without a docstring: %s", each.filepath, each.lineno, each.path)
                    continue
                text = markdown_of(each.docstring.value)
                each.docstring.value = REFERENCE.sub(lambda found, each=each: _link(found[1], each, shown), text)


def _link(name: str, place: griffe.Object, shown: set[str]) -> str:
    """A name as a link where it is public, and otherwise as it is."""
    first, _, rest = name.partition(".")
    paths = []
    try:
        path = place.resolve(first)
        found = place.modules_collection[path]
        found = found.final_target if found.is_alias else found
        paths.append(f"{found.path}.{rest}".strip("."))
    except (KeyError, griffe.NameResolutionError, griffe.AliasResolutionError):
        # Of another module, as in a docstring that is read in the reference only.
        paths += [path for path in shown if path.endswith(f".{name}")]
    for path in paths:
        if path in shown:
            return f"[`{name}`][{path}]"
    if not paths and not _is_known(first, place):
        log.warning("%s:%s: refers to `%s`, which is not there", place.filepath, place.lineno, name)
    return f"`{name}`"


def _is_known(name: str, place: griffe.Object) -> bool:
    """Whether a module of the package has that name, or imports it."""
    waiting = [place.package]
    while waiting:
        module = waiting.pop()
        if name in module.members:
            return True
        waiting += [each for each in module.modules.values() if not each.is_alias]
    return False
