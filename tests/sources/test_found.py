# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Names of results: those of the photos, under their folders' names where these are needed to tell them apart."""

import os
from pathlib import Path

import pytest

from catseg_hf.formats import find_format
from catseg_hf.sources.found import find_inputs, named
from catseg_hf.sources.places import place_several


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes `tmp_path` the current folder, and some photos in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.jpg", "a/more/y.png", "b/x.jpg", "c/z.jpg", "c/x.png", "p/a/x.jpg", "q/a/x.jpg", "A/x.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"not read")
    return tmp_path


def names(*inputs: str, keep_endings: bool = True) -> dict[str, str]:
    problems: dict[str, str] = {}
    found = named(find_inputs(inputs, Path("out"), problems), keep_endings=keep_endings)
    assert not problems and len(dict(found)) == len(found)
    return {name: stem.as_posix() for name, stem in found}


def test_photos_keep_their_names_where_these_differ(places: Path) -> None:
    assert names("a", "c/z.jpg") == {"a/x.jpg": "x", "a/more/y.png": "more/y", "c/z.jpg": "z"}


def test_photos_of_equal_names_are_told_apart_by_their_folders(places: Path) -> None:
    expected = {"a/x.jpg": "a/x", "a/more/y.png": "a/more/y", "b/x.jpg": "b/x", "c/z.jpg": "c/z"}
    assert names("a", "b", "c/z.jpg") == expected
    # Files by the folders that they are in, and any spelling of a folder.
    assert names("a/x.jpg", f"{places}/c/../b") == {"a/x.jpg": "a/x", f"{places}/c/../b/x.jpg": "b/x"}


def test_folders_of_equal_names_are_told_apart_by_those_above(places: Path) -> None:
    assert names("p/a", "q/a") == {"p/a/x.jpg": "p/a/x", "q/a/x.jpg": "q/a/x"}
    # Capital letters do not tell folders apart in all file systems, but no name gets longer by that.
    assert names("a", "A") == {"a/x.jpg": "a/x.jpg", "a/more/y.png": "a/more/y", "A/x.jpg": "A/x.jpg"}
    os.chdir(places / "p" / "a")
    assert names(".", "../../q/a") == {"x.jpg": "p/a/x", "../../q/a/x.jpg": "q/a/x"}


def test_endings_tell_photos_apart_but_for_yolo(places: Path) -> None:
    assert names("a/x.jpg", "c") == {"a/x.jpg": "x.jpg", "c/x.png": "x.png", "c/z.jpg": "z"}
    expected = {"a/x.jpg": "a/x", "c/x.png": "c/x", "c/z.jpg": "c/z"}
    assert names("a/x.jpg", "c", keep_endings=False) == expected
    # Folders do not help where a name is twice in one.
    (places / "c" / "z.png").touch()
    assert names("c", keep_endings=False) == {"c/x.png": "x", "c/z.jpg": "z", "c/z.png": "z"}


def test_a_photo_is_there_once(places: Path) -> None:
    assert names("a", "./a", "a/x.jpg", "a/more") == {"a/x.jpg": "x", "a/more/y.png": "more/y"}


def test_photos_from_the_web_keep_theirs(places: Path) -> None:
    found = names("https://example.org/x.jpg", "a", "b")
    assert found == {"https://example.org/x.jpg": "x", "a/x.jpg": "a/x", "a/more/y.png": "a/more/y", "b/x.jpg": "b/x"}


@pytest.mark.parametrize("kind", ["overlay", "masks", "coco", "yolo", "geojson"])
def test_no_two_results_share_a_file(kind: str, places: Path) -> None:
    problems: dict[str, str] = {}
    found = find_inputs(["a", "b", "c", "p", "q/a", "A"], Path("out"), problems)
    photos = place_several(found, Path("out"), [find_format(kind)], problems)
    targets = [str(path).casefold() for photo in photos for path in photo.targets.values()]
    assert len(set(targets)) == len(targets)
    # Capital letters are no difference for some file systems: such a photo is named and not segmented.
    assert [name for name in problems if name != "A/x.jpg"] == []
    assert len(photos) + len(problems) == 8
