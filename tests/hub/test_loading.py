# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Folders whose files do not go together are refused, where `from_pretrained` would fill in or leave out."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from catseg_hf import TINY
from catseg_hf.hub import load_model_and_processor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(TINY, tmp_path / "model")
    return tmp_path / "model"


def change(file: Path, *path: str, value: object) -> None:
    content = place = json.loads(file.read_text())
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(content))


def test_a_whole_folder_is_loaded(folder: Path) -> None:
    model, processor = load_model_and_processor(str(folder), torch.float32)
    assert not model.training and model.dtype == torch.float32
    assert processor.image_processor.image_size == 192


@pytest.mark.parametrize(
    ("number", "message"), [(1, "are not of that model, such as 'model.clip.text_model"), (3, "are missing, such as")]
)
def test_weights_of_another_model(folder: Path, number: int, message: str) -> None:
    change(folder / "config.json", "clip_config", "text_config", "num_hidden_layers", value=number)
    with pytest.raises(ValueError, match=message):
        load_model_and_processor(str(folder))


def test_what_libraries_fail_at_is_named(folder: Path) -> None:
    change(folder / "config.json", "id2label", value="seven")
    with pytest.raises(
        ValueError, match="model holds no whole model of catseg_hf: convert or download it again. AttributeError: 'str'"
    ):
        load_model_and_processor(str(folder))


def test_a_tokenizer_that_panics(folder: Path) -> None:
    change(folder / "tokenizer.json", "post_processor", "special_tokens", value={})
    with pytest.raises(ValueError, match="model holds no whole model of catseg_hf"):
        load_model_and_processor(str(folder))
