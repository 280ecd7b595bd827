# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg info` says what is in a folder, and what is installed."""

import shutil
from pathlib import Path

from catseg_hf import CatSegForSemanticSegmentation, __version__
from catseg_hf.hub import describe_installation, describe_model


def test_a_model_folder_is_described(tiny_model_folder: Path) -> None:
    described = dict(describe_model(str(tiny_model_folder)))
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_model_folder)
    assert described["Parameters"].startswith(f"{model.num_parameters() / 1e6:.2f} M in all, ")
    size = (tiny_model_folder / "model.safetensors").stat().st_size / 1e6
    assert described["Weights"] == f"{size:.0f} MB in 1 file (F32, I32)"
    assert described["CLIP"] == "9 vision layers of width 64, patches of 16 pixels, views of 384 pixels"
    assert described["Guidance"] == "layers of CLIP" and described["Synonyms"] == "first"
    assert described["Templates"] == "A photo of a {} in the scene"
    assert described["Vocabulary"].startswith("171 classes: person, bicycle, ")
    assert described["Processor"] == "windows of 384 pixels, 256 apart and the whole image"
    assert described["Card"] == "licence other"


def test_what_a_folder_lacks_is_said(tiny_model_folder: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model_folder / "config.json", tmp_path)
    described = dict(describe_model(str(tmp_path)))
    assert (described["Weights"], described["Processor"], described["Card"]) == ("none", "none", "none")


def test_the_installation_is_described() -> None:
    described = dict(describe_installation())
    assert described["catseg-hf"].startswith(__version__) and described["Devices"].startswith("cpu")
    assert described["Models"].startswith("base") and "mmseg-base" in described["Models"]
