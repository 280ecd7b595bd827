# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a person in Python holds: a [`Segmenter`] with labels, and the [`Segmentation`] of a photo."""

from .loading import load_model
from .segmentation import NO_CLASS, Segmentation, label_name
from .segmenter import Segmenter


__all__ = ["NO_CLASS", "Segmentation", "Segmenter", "label_name", "load_model"]
