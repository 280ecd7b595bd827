# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the server of `commands` imports once, for all commands that are forked from it."""

import accelerate  # noqa: F401
import datasets  # noqa: F401
import torch

import catseg_hf.app.photo_segmenter
import catseg_hf.cli
import catseg_hf.conversion.command
import catseg_hf.evaluation
import catseg_hf.training  # noqa: F401


torch.set_num_threads(1)
