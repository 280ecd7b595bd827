# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The pages about the package as a whole say the same: version, licence, paper."""

import re
from pathlib import Path

import tomllib
import yaml

import catseg_hf


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_citation_is_of_this_package_and_of_the_paper_in_readme() -> None:
    assert (CITATION["title"], CITATION["version"]) == (PROJECT["project"]["name"], catseg_hf.__version__)
    assert " AND ".join(CITATION["license"]) == PROJECT["project"]["license"]
    paper = CITATION["preferred-citation"]
    authors = " and ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
    (entry,) = re.findall(r"```bibtex\n(.*?)```", README, flags=re.DOTALL)
    identifier = paper["identifiers"][0]["value"].removeprefix("arXiv:")
    for field in (paper["title"], authors, str(paper["year"]), identifier):
        assert f"{{{field}}}" in entry
    # Required by version 1.2.0 of the format.
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0].rstrip(",") == catseg_hf.__version__


def test_type_hints_are_part_of_the_package() -> None:
    assert (ROOT / "catseg_hf" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["catseg_hf"]
