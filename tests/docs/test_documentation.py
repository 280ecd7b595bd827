# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the documentation site is made of: its pages, the reference, quoted messages; without building it."""

import ast
import dataclasses
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from catseg_hf import CatSegConfig
from catseg_hf.cli import app
from catseg_hf.conversion.command import make_parser
from catseg_hf.service.errors import CODES


ROOT = Path(__file__).parents[2]
SITE = ROOT / ".ci" / "site"
# Not pages: what a model card is made of.
TEMPLATES = {"catseg_hf/cards/model_card_template.md"}


def module(name: str) -> dict[str, Any]:
    """A module that makes pages, as the build runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SITE), *sys.path])
        return runpy.run_path(str(SITE / f"{name}.py"))


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return module("reference")


def pages(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for value in [entry] if isinstance(entry, str) else entry.values():
            yield from [value] if isinstance(value, str) else pages(value)


def test_every_page_of_the_repository_is_in_the_navigation() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(pages(yaml.safe_load(text)["nav"]))
    assert {name for name in listed.stdout.decode().splitlines() if (ROOT / name).is_file()} - TEMPLATES == {
        name for name in shown if not name.endswith(".ipynb.md")
    }
    for name in shown:
        path = ROOT / name.removesuffix(".md") if name.endswith(".ipynb.md") else ROOT / name
        assert path.is_file(), name
        assert path.suffix == ".ipynb" or len(path.read_text(encoding="utf-8").splitlines()) <= 300, name


def test_every_room_has_a_page_and_a_row_that_leads_to_it(reference: dict[str, Any]) -> None:
    made = reference["room_pages"](ROOT)
    assert {page.path for page in made} == set(map(reference["page_path"], reference["TITLES"]))
    assert "::: catseg_hf.segmenting.Segmenter\n" in next(page.text for page in made if "segmenting" in page.path)
    text = (ROOT / "examples" / "reference.md").read_text(encoding="utf-8")
    assert {target.removeprefix("../") for target in re.findall(r"\]\((\S+\.py)\)", text)} == set(reference["MADE_OF"])


def test_every_name_is_on_one_page(reference: dict[str, Any]) -> None:
    shown = [name for page in reference["room_pages"](ROOT) for name in re.findall(r"^::: (\S+)", page.text, re.M)]
    assert len(shown) == len(set(shown)) > 100
    assert {
        "catseg_hf.CatSegConfig",
        "catseg_hf.evaluation.ProtocolSegmenter",
        "catseg_hf.vocabularies.load_vocabulary",
    } <= {*shown}


def test_the_page_of_the_command_line_has_every_option() -> None:
    text = module("command_line")["page"]().text
    group = get_command(app)
    for name, command in group.commands.items():
        section = text.partition(f"## catseg {name}\n")[2].partition("\n## ")[0]
        options = [opt for each in command.params for opt in (*each.opts, *each.secondary_opts) if opt.startswith("-")]
        if name == "convert":
            options = [opt for action in make_parser()._actions for opt in action.option_strings]
        for option in options:
            assert f"`{option}`" in section, (name, option)
    assert "**What to look for**" in text and "| `--threshold` | number from 0 to 1 |  | Pixels" in text
    assert "| `--engine` | `process`, `ray` | `process` |" in text


def test_the_page_of_the_service_has_every_request_and_status() -> None:
    text = module("service_interface")["page"]().text
    for request in ("POST /v1/segment", "GET /v1/model", "GET /healthz", "POST /predict"):
        assert f"\n## {request}\n" in text
    for status, code in CODES.items():
        assert f"| {status} | `{code}` |" in text
    section = text.partition("## POST /v1/segment\n")[2].partition("\n## ")[0]
    assert "| `threshold` | number from 0 to 1 |" in section and "| 401 | `application/json` |" in section


def test_sections_of_docstrings_become_lists() -> None:
    shown = module("docstrings")["markdown_of"](
        "Does it.\n\nArgs:\n    height, width (`int`, *optional*):\n        Sides: in\n        pixels.\n"
        "    image (`np.ndarray` of shape `(height, width)`): A photo.\n\nReturns:\n    `str`: A name.\n\n"
        "Example:\n\n```python\n>>> 1\n1\n```"
    )
    assert shown == (
        "Does it.\n\n**Arguments**\n\n- **`height`, `width`** (`int`, *optional*):\n    Sides: in\n    pixels.\n"
        "- **`image`** (`np.ndarray` of shape `(height, width)`): A photo.\n\n**Returns**\n\n`str`: A name.\n\n"
        "**Example**\n\n```pycon\n>>> 1\n1\n```"
    )


def test_the_reference_has_all_fields_of_the_configuration_with_their_defaults() -> None:
    (section,) = re.findall(r"^ *Args:\n(.*?)\n\n", CatSegConfig.__doc__, re.MULTILINE | re.DOTALL)
    heads = dict(re.findall(r"^ +(\w+) \((.*)\):$", section, re.MULTILINE))
    own = [name for name in CatSegConfig.__annotations__ if name in {f.name for f in dataclasses.fields(CatSegConfig)}]
    assert list(heads) == own and len(own) > 30
    for name in own:
        stated = re.search(r"defaults to (.+)$", heads[name])
        default = getattr(CatSegConfig, name)
        expected = list(default) if isinstance(default, tuple) else default
        assert (ast.literal_eval(stated[1].strip("`")) if stated else None) == expected, name


def messages() -> set[str]:
    """All texts of the package's code, with `…` for what is put into them."""
    found = set()
    for path in (ROOT / "catseg_hf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_messages_that_the_page_of_errors_quotes_are_in_the_code() -> None:
    text = (ROOT / "examples" / "errors.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^> (.*)$", text, re.MULTILINE)
    assert len(quoted) >= 10
    known = messages()
    for message in quoted:
        assert any(message.removeprefix("… ") in each for each in known), message


def test_forms_for_issues_can_be_read() -> None:
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")]
    assert len(forms) == 2
    for form in forms:
        assert {"name", "description", "body"} <= set(form)
        assert all(field["type"] in ("textarea", "checkboxes") for field in form["body"])
        assert len({field["id"] for field in form["body"]}) == len(form["body"])
