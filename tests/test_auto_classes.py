# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""After `import catseg_hf`, Transformers' Auto classes load a saved folder as our classes."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from catseg_hf import (
    CatSegConfig,
    CatSegForSemanticSegmentation,
    CatSegImageProcessor,
    CatSegImageProcessorPil,
    CatSegImageSegmentationPipeline,
    CatSegModel,
    CatSegProcessor,
)
from tests.tiny_pipelines import save_tiny_pipeline


PHOTO = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_classes(tmp_path: Path) -> None:
    folder = save_tiny_pipeline(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(folder), CatSegConfig)
    assert isinstance(AutoModel.from_pretrained(folder), CatSegModel)
    assert isinstance(AutoModelForSemanticSegmentation.from_pretrained(folder), CatSegForSemanticSegmentation)
    image_processor = AutoImageProcessor.from_pretrained(folder)
    assert isinstance(image_processor, (CatSegImageProcessor, CatSegImageProcessorPil))
    assert isinstance(AutoProcessor.from_pretrained(folder), CatSegProcessor)
    task = PIPELINE_REGISTRY.check_task("image-segmentation")[1]
    assert task["impl"] is CatSegImageSegmentationPipeline


def test_dense_features(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What `AutoModel` gives: embeddings and cost maps; the decoder in the folder is left out without a word."""
    save_tiny_pipeline(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)  # Transformers' loggers do not propagate
    try:
        model = AutoModel.from_pretrained(tmp_path).eval()
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records
    inputs = processor(images=[PHOTO, PHOTO], text=["cat", ["grass", "lawn"], "sky"], do_sliding_window=False)
    with torch.inference_mode():
        features = model(**inputs, output_hidden_states=True)
        whole = AutoModelForSemanticSegmentation.from_pretrained(tmp_path).eval()(**inputs, output_hidden_states=True)
    # Two images of 64 x 64 pixels, 8 x 8 patches, 3 classes, 1 template
    assert features.image_embeds.shape == (2, 8, 8, 24)
    assert features.text_embeds.shape == (3, 1, 24)
    assert features.cost_volume.shape == (2, 3, 1, 8, 8)
    assert features.last_hidden_state.shape == (2, 3, 8, 8, 16)
    assert [tuple(maps.shape) for maps in features.guidance] == [(2, 24, 8, 8), (2, 32, 8, 8), (2, 32, 8, 8)]
    assert [tuple(states.shape) for states in features.hidden_states] == [(2, 3, 64, 16)] * 3
    with torch.inference_mode():
        views = model(**processor(images=PHOTO, text=["cat", ["grass", "lawn"], "sky"]))
    assert views.last_hidden_state.shape == (1, 5, 3, 8, 8, 16)
    cosines = torch.einsum(
        "bhwd,tpd->btphw", torch.nn.functional.normalize(features.image_embeds, dim=-1), features.text_embeds
    )
    torch.testing.assert_close(features.cost_volume, cosines)
    for mine, others in zip(features.hidden_states, whole.hidden_states, strict=True):
        assert torch.equal(mine, others)


def test_saved_again_everything_gives_the_same_result(tmp_path: Path) -> None:
    results = []
    for folder in (save_tiny_pipeline(tmp_path / "first"), tmp_path):
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
    assert results[0][1].shape[2] == 4  # the model's own vocabulary
