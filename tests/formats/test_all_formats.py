# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A format is one object in one file: nobody else compares its name, and all say what they are."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import catseg_hf
from catseg_hf.formats import (
    ANNOTATION_FORMATS,
    ANSWER_FORMATS,
    DEFAULT_FORMAT,
    FORMATS,
    AnnotationFormat,
    find_format,
    format_of,
)


PACKAGE = Path(catseg_hf.__file__).parent
# What the same words mean elsewhere, by file and word.
OTHER_MEANINGS = {
    ("formats/options.py", "rle"): "a value of `shapes`: run lengths",
    ("formats/coco.py", "rle"): "the same",
    ("formats/cvat.py", "rle"): "the same, and an attribute of CVAT's masks",
    ("formats/label_studio.py", "rle"): "the same, and a field of Label Studio's brush",
    ("formats/labelme.py", "rle"): "the same",
    ("datasets/cvat.py", "rle"): "an attribute of CVAT's masks",
    ("datasets/label_studio.py", "rle"): "a field of Label Studio's brush",
    ("pictures/__init__.py", "overlay"): "a function, in `__all__`",
    ("pictures/overlays.py", "overlay"): "a function, in `__all__`",
    ("app/web_page.py", "overlay"): "the place of a picture on the page",
}


def words(path: Path) -> Iterator[str]:
    """The texts of a file that name a format."""
    names = {format.name for format in FORMATS}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and node.value in names:
            yield node.value


def test_no_format_is_named_outside_of_its_own_file() -> None:
    own = {(f"{type(format).__module__.replace('.', '/')}.py", format.name) for format in FORMATS}
    places = ((path, path.relative_to(PACKAGE.parent).as_posix()) for path in PACKAGE.rglob("*.py"))
    named = {(place, word) for path, place in places for word in words(path)}
    found = {(place.removeprefix("catseg_hf/"), word) for place, word in named - own}
    assert found == OTHER_MEANINGS.keys()


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_formats_say_what_they_are(format: catseg_hf.formats.Format) -> None:
    for text in (format.name, format.title, format.help, format.ending, format.default_output):
        assert text and text == text.strip()
    assert format.ending.startswith(".") and format.name.islower() and type(format).__doc__
    assert find_format(format.name) is format == type(format)()
    assert (format.media_type is None) != (format in ANSWER_FORMATS)
    if isinstance(format, AnnotationFormat):
        assert format.holds and format in ANNOTATION_FORMATS
        assert {shapes for shapes, _ in format.holds} <= {"polygons", "rle"}
        assert {each for _, each in format.holds} <= {"part", "class"}
    for output in (format.video, format.large_image):
        assert output is None or (output.name, output.ending[0]) == (format.name, ".")


def test_names_and_endings_are_of_one_format_each() -> None:
    for field in ("name", "title", "ending"):
        assert max(Counter(getattr(format, field) for format in FORMATS).values()) == 1
    endings = Counter(ending for format in FORMATS for ending in format.file_endings)
    assert max(endings.values()) == 1
    assert DEFAULT_FORMAT is FORMATS[0] and set(ANNOTATION_FORMATS) < set(FORMATS)


def test_a_format_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError) as error:
        find_format("gif")
    assert str(error.value) == (
        "There is no format 'gif': choose one of overlay, label-map, masks, rle, json, coco, yolo, label-studio, cvat, "
        "labelme, geojson, parquet."
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.png", "overlay"),
        ("A.JPG", "overlay"),
        ("a.labels.png", "label-map"),
        ("a.masks", "masks"),
        ("a.rle.json", "rle"),
        ("a.coco.json", "coco"),
        ("a.yolo", "yolo"),
        ("a.tasks.json", "label-studio"),
        ("annotations.xml", "cvat"),
        ("a.labelme.json", "labelme"),
        ("folder.json/a.geojson", "geojson"),
    ],
)
def test_endings_say_the_format(path: str, name: str) -> None:
    assert format_of(path).name == name


@pytest.mark.parametrize("path", ["a.json", "a.txt", "a", "a.parquet", "json"])
def test_endings_that_do_not(path: str) -> None:
    with pytest.raises(ValueError, match=f"The ending of {path} does not say its format: give `format=`, one of "):
        format_of(path)
