# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""ONNX: a folder of graphs, written by `export.py`, and the model that runs them in the place of torch's."""

from .model import OnnxCatSeg, is_exported


__all__ = ["OnnxCatSeg", "is_exported"]
