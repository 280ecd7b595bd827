# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Conversion of the checkpoints of all CAT-Seg code bases, in both directions.

One file holds the key mapping of each code base: `cvpr.py`, `v1.py` and `mmseg.py`, with `clip.py`, `backbones.py` and
`aggregator.py` for what they share.
"""

from .convert import ConversionReport, convert_checkpoint
from .download import PUBLISHED, fetch_original, load_original
from .errors import ConversionError
from .moves import Move, apply_moves, invert_moves
from .open_clip import convert_open_clip_state_dict, find_open_clip, load_open_clip
from .options import ConversionOptions
from .original import original_state_dict, write_original
from .plan import ConversionPlan, convert_tensors, plan_conversion
from .tokenizer import clip_tokenizer


__all__ = [
    "PUBLISHED",
    "ConversionError",
    "ConversionOptions",
    "ConversionPlan",
    "ConversionReport",
    "Move",
    "apply_moves",
    "clip_tokenizer",
    "convert_checkpoint",
    "convert_open_clip_state_dict",
    "convert_tensors",
    "fetch_original",
    "find_open_clip",
    "invert_moves",
    "load_open_clip",
    "load_original",
    "original_state_dict",
    "plan_conversion",
    "write_original",
]
