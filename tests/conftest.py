# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What several test files share."""

import os


# Before anything imports huggingface_hub: no test may ask the network for anything by accident.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
import torch

from examples.demo import cvpr_shapes, random_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the names of the official CVPR 2024 code and random weights, of a small CLIP."""
    shapes = cvpr_shapes(vision_width=64, vision_layers=9, text_width=64, text_layers=2)
    path = tmp_path_factory.mktemp("checkpoints") / "model_base.pth"
    torch.save({"model": random_checkpoint(shapes)}, path)
    return path


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That checkpoint converted: a folder for `from_pretrained`, with the real tokenizer."""
    from catseg_hf.conversion import convert_checkpoint

    folder = tmp_path_factory.mktemp("models") / "tiny"
    convert_checkpoint(tiny_checkpoint, folder)
    return folder
