# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Drawn scenes of coloured, patterned shapes, and the words for them.

`catseg-tiny` was trained on these by `examples/train_tiny.py`; demo, web page, notebook and tests draw them from a seed
instead of keeping pictures.
"""

from .drawing import COLORS, PATTERNS, SHAPES, THINGS, Scene, Thing, draw_scene
from .words import GROUND, HELD_OUT_THINGS, SEEN_THINGS, Phrases, scene_tokenizer


__all__ = [
    "COLORS",
    "GROUND",
    "HELD_OUT_THINGS",
    "PATTERNS",
    "SEEN_THINGS",
    "SHAPES",
    "THINGS",
    "Phrases",
    "Scene",
    "Thing",
    "draw_scene",
    "scene_tokenizer",
]
