# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the server of `commands` imports once, for all commands that are forked from it."""

import accelerate  # noqa: F401
import datasets  # noqa: F401
import torch
from PIL import Image

import catseg_hf.cli
import catseg_hf.conversion.command
import catseg_hf.evaluation
import catseg_hf.sources.segment
import catseg_hf.training


# A forked process has none of the threads that torch had before.
torch.set_num_threads(1)
# What Transformers imports only when a model is loaded, and what is imported when one runs.
processor = catseg_hf.CatSegProcessor.from_pretrained(catseg_hf.TINY)
model = catseg_hf.CatSegForSemanticSegmentation.from_pretrained(catseg_hf.TINY).eval()
model(**processor(images=Image.new("RGB", (64, 64)), text=["cat"]))
