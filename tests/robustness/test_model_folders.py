# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Model folders whose files say something wrong: refused by name, or without any effect."""

import copy
import json
import random
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catseg_hf import TINY
from catseg_hf.hub import load_model_and_processor
from catseg_hf.scenes import draw_scene
from tests.robustness.outcomes import Attempts


pytestmark = pytest.mark.slow


Key = tuple[str | int, ...]
LABELS = ["red circle", "a star", "ground"]
# Of these, another value of the same kind is another model or another way to look at photos: nobody can call it wrong.
SETTINGS = {
    *("dense_residual", "dtype", "guidance_layers", "inference_pooling_size", "layer_norm_eps", "num_attention_heads"),
    *("window_size",),
}
VIEW_SETTINGS = {
    *("image_mean", "image_std", "rescale_factor", "do_sliding_window", "resample", "shortest_edge", "image_size"),
    *("prompt_templates",),
}
WORD_SETTINGS = {"normalizer", "pre_tokenizer", "vocab"}
# What errors speak of instead of a field.
SPOKEN_OF = (
    "end token",
    "Label 1",
    "pixel_values",
    "resampling filter",
    "input_ids",
    "prompt template",
    "The tokenizer makes",
)
TYPES = {"a word": str, "a number": int | float, "an object": dict, "a list": list}
SETTING_KINDS = {"larger", "zero", "left out", "null", "negative"}


def fields(content: Any, path: Key = ()) -> Iterator[Key]:
    """All fields of a JSON file; of classes, words and their lists the first two."""
    items = list(content.items() if isinstance(content, dict) else enumerate(content))
    for key, value in items if len(items) < 60 and path[-1:] != ("vocab",) else items[:2]:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from fields(value, (*path, key))


def wrong_values(value: Any) -> dict[str, Any]:
    """Values of another type, sign and size."""
    wrong = {"a word": "seven", "a number": 7, "an object": {"seven": 7}, "a list": ["seven"], "null": None}
    for kind, types in TYPES.items():
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
    model, processor = load_model_and_processor(str(folder))
    outputs = model(**processor(images=photo, text=LABELS))
    return processor.post_process_semantic_segmentation(outputs, target_sizes=[photo.size[::-1]])[0].numpy()


def try_all(
    attempts: Attempts, dice: random.Random, file: Path, act: Callable[[], np.ndarray], settings: Container[str]
) -> None:
    """Tries every field of a JSON file without it, and with three wrong values: one of another type, and two others."""
    content, expected = json.loads(file.read_text(encoding="utf-8")), act()
    for path in fields(content):
        value = content
        for key in path:
            value = value[key]
        wrong = wrong_values(value)
        others = [kind for kind in wrong if kind not in TYPES]
        only = [dice.choice([kind for kind in wrong if kind in TYPES]), *dice.sample(others, min(2, len(others)))]
        cases = {kind: wrong[kind] for kind in only}
        for kind, other in {**cases, "left out": ...}.items():
            # A list is no normalizer, which is another tokenizer without one.
            is_kind = kind in SETTING_KINDS or ("normalizer" in path and kind == "a list")
            is_setting = is_kind and any(key in settings for key in path)
            file.write_text(json.dumps(changed(content, path, other)), encoding="utf-8")
            attempts.attempt(
                f"{file.name} {path}: {kind}",
                act,
                lambda found, is_setting=is_setting: is_setting or np.array_equal(found, expected),
                [str(file.parent), *SPOKEN_OF, *(str(key) for key in path if isinstance(key, str))],
            )
    file.write_text(json.dumps(content), encoding="utf-8")


def test_config(attempts: Attempts, dice: random.Random, folder: Path, photo: Image.Image) -> None:
    """Each field of `config.json` with wrong types, signs and sizes, or left out"""
    try_all(attempts, dice, folder / "config.json", lambda: segment(folder, photo), SETTINGS)


def test_processor(attempts: Attempts, dice: random.Random, folder: Path, photo: Image.Image) -> None:
    """Each field of `processor_config.json` with wrong types, signs and sizes, or left out"""
    try_all(attempts, dice, folder / "processor_config.json", lambda: segment(folder, photo), VIEW_SETTINGS)


def test_tokenizer(attempts: Attempts, dice: random.Random, folder: Path, photo: Image.Image) -> None:
    """Each field of `tokenizer.json` and `tokenizer_config.json` with wrong types, signs and sizes, or left out"""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        try_all(attempts, dice, folder / name, lambda: segment(folder, photo), WORD_SETTINGS)


def test_index_of_shards(attempts: Attempts, dice: random.Random, folder: Path, photo: Image.Image) -> None:
    """Each field of `model.safetensors.index.json` with wrong types, signs and sizes, or left out"""
    model, _ = load_model_and_processor(str(folder))
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="2MB")
    try_all(attempts, dice, folder / "model.safetensors.index.json", lambda: segment(folder, photo), ())
