# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""After `import catseg_hf`, Transformers' Auto classes load a converted folder as our classes."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, AutoProcessor

from catseg_hf import (
    CatSegConfig,
    CatSegForSemanticSegmentation,
    CatSegImageProcessor,
    CatSegImageProcessorPil,
    CatSegModel,
    CatSegProcessor,
)


PHOTO = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_classes(tiny_model_folder: Path) -> None:
    assert isinstance(AutoConfig.from_pretrained(tiny_model_folder), CatSegConfig)
    assert isinstance(AutoModel.from_pretrained(tiny_model_folder), CatSegModel)
    assert isinstance(
        AutoModelForSemanticSegmentation.from_pretrained(tiny_model_folder), CatSegForSemanticSegmentation
    )
    image_processor = AutoImageProcessor.from_pretrained(tiny_model_folder)
    assert isinstance(image_processor, (CatSegImageProcessor, CatSegImageProcessorPil))
    assert isinstance(AutoProcessor.from_pretrained(tiny_model_folder), CatSegProcessor)


def test_saved_again_everything_gives_the_same_result(tiny_model_folder: Path, tmp_path: Path) -> None:
    results = []
    for folder in (tiny_model_folder, tmp_path):
        model = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
        processor = AutoProcessor.from_pretrained(folder)
        with torch.inference_mode():
            outputs = model(**processor(images=[PHOTO, PHOTO[:, ::-1].copy()], text=["cat", ["grass", "lawn"]]))
            own = model(**processor(images=PHOTO))
        maps = processor.post_process_semantic_segmentation(outputs, target_sizes=[(50, 70)] * 2)
        results.append([outputs.logits, own.logits, *maps])
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)
    assert results[0][1].shape[2] == 171  # a converted model's own vocabulary is COCO-Stuff
