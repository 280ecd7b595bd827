# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Model folders whose files say something wrong: refused by name, or without any effect."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.scenes import draw_scene
from tests.robustness.outcomes import Attempts


Key = tuple[str | int, ...]
LABELS = ["red circle", "a star", "ground"]
# Any other value of these is another setting, which nobody can call wrong.
SETTINGS: set[str] = set()


def fields(content: Any, path: Key = ()) -> Iterator[Key]:
    """All fields of a JSON file; of long lists and objects the first two."""
    items = list(content.items() if isinstance(content, dict) else enumerate(content))
    for key, value in items if len(items) < 60 else items[:2]:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from fields(value, (*path, key))


def wrong_values(value: Any) -> dict[str, Any]:
    """Values of another type, sign and size."""
    wrong = {"a word": "seven", "a number": 7, "an object": {"seven": 7}, "a list": ["seven"], "null": None}
    for kind, types in {"a word": str, "a number": int | float, "an object": dict, "a list": list}.items():
        if isinstance(value, types) and not isinstance(value, bool):
            del wrong[kind]
    if isinstance(value, int | float) and not isinstance(value, bool):
        wrong |= {"negative": -value - 1, "zero": 0, "larger": 3 * value + 1, "true": True}
    if isinstance(value, list):
        wrong |= {"empty": [], "longer": [*value, *value]}
    return {kind: other for kind, other in wrong.items() if other != value or type(other) is not type(value)}


def changed(content: Any, path: Key, value: Any) -> Any:
    """A copy with another value at a place; without that field, where the value is `...`."""
    content = copy.deepcopy(content)
    *parents, last = path
    place = content
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return draw_scene(3, 64).image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(TINY, tmp_path / "model")
    return tmp_path / "model"


def segment(folder: Path, photo: Image.Image) -> np.ndarray:
    model = CatSegForSemanticSegmentation.from_pretrained(folder).eval()
    processor = CatSegProcessor.from_pretrained(folder)
    outputs = model(**processor(images=photo, text=LABELS))
    return processor.post_process_semantic_segmentation(outputs, target_sizes=[photo.size[::-1]])[0].numpy()


def try_all(attempts: Attempts, file: Path, act: Callable[[], np.ndarray]) -> None:
    """Tries every field of a JSON file with wrong values, and without it."""
    content, expected = json.loads(file.read_text(encoding="utf-8")), act()
    for path in fields(content):
        value = content
        for key in path:
            value = value[key]
        for kind, other in {**wrong_values(value), "left out": ...}.items():
            if path[-1] in SETTINGS or (len(path) > 1 and path[-2] in SETTINGS):
                continue
            file.write_text(json.dumps(changed(content, path, other)), encoding="utf-8")
            names = [str(key) for key in path if isinstance(key, str)]
            attempts.attempt(
                f"{file.name} {path}: {kind}", act, lambda found: np.array_equal(found, expected), names[-1:]
            )
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.slow
def test_config(attempts: Attempts, folder: Path, photo: Image.Image) -> None:
    """Each field of `config.json` with wrong types, signs and sizes, or left out"""
    try_all(attempts, folder / "config.json", lambda: segment(folder, photo))
