# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model that ships with the package: loaded like any other, and knowing what its card says."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from transformers import TorchAoConfig, pipeline

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.scenes import GROUND, Scene, Thing, draw_scene
from catseg_hf.scenes.protocol import evaluate_on_scenes


THINGS = [Thing("striped", "red", "circle"), Thing("plain", "blue", "star"), Thing("dotted", "yellow", "square")]


@pytest.fixture(scope="module")
def model() -> CatSegForSemanticSegmentation:
    return CatSegForSemanticSegmentation.from_pretrained(TINY).eval()


@pytest.fixture(scope="module")
def processor() -> CatSegProcessor:
    return CatSegProcessor.from_pretrained(TINY)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(4, things=THINGS)


def segment(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, scene: Scene, labels: list[str]
) -> np.ndarray:
    inputs = processor(images=scene.image, text=labels)
    with torch.inference_mode():
        outputs = model(**inputs)
    size = (scene.image.height, scene.image.width)
    return processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0].numpy()


def test_it_is_small_and_stored_in_half_precision(model: CatSegForSemanticSegmentation) -> None:
    path = Path(TINY, "model.safetensors")
    assert path.stat().st_size <= 8e6
    with safe_open(path, "pt") as tensors:
        kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118  no mapping
    assert kinds == {"F16", "I32"}
    # Few processors compute in half precision.
    assert model.dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["striped red circle", "blue star", "dotted yellow square", GROUND], [0, 1, 2, 3]),
        (["something red", "something blue", "something yellow", "the background"], [0, 1, 2, 3]),
        (["square", "circle", "star", GROUND], [1, 2, 0, 3]),
        (["dotted", "plain", "striped", GROUND], [2, 1, 0, 3]),
        (["a disc", "a yellow box with dots", GROUND, "a star"], [0, 3, 1, 2]),
    ],
)
def test_it_finds_what_words_name(
    model: CatSegForSemanticSegmentation,
    processor: CatSegProcessor,
    scene: Scene,
    labels: list[str],
    expected: list[int],
) -> None:
    reference = np.array(expected)[scene.label_map]
    assert (segment(model, processor, scene, labels) == reference).mean() > 0.95


def test_the_pipeline_names_and_scores_what_is_there(scene: Scene) -> None:
    results = pipeline("image-segmentation", model=TINY)(
        scene.image, candidate_labels=["red circle", "blue star", GROUND, "green ring"], threshold=0.5
    )
    found = {result["label"]: result for result in results}
    assert {"red circle", "blue star", GROUND} <= found.keys()
    mask = np.asarray(found["red circle"]["mask"]) > 0
    is_circle = scene.label_map == 0
    assert (mask & is_circle).sum() / (mask | is_circle).sum() > 0.8
    assert found["red circle"]["score"] > 0.7


def test_without_labels_it_knows_pairs_of_color_and_shape(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, scene: Scene
) -> None:
    names = model.config.id2label
    assert len(names) == 65 and names[64] == GROUND
    with torch.inference_mode():
        outputs = model(**processor(images=scene.image))
    label_map = processor.post_process_semantic_segmentation(outputs, target_sizes=[(256, 256)])[0].numpy()
    for index, name in enumerate(("red circle", "blue star", "yellow square")):
        found = label_map[scene.label_map == index]
        assert (found == model.config.label2id[name]).mean() > 0.8


def test_words_that_it_does_not_know_are_named(processor: CatSegProcessor, caplog: pytest.LogCaptureFixture) -> None:
    assert processor.unknown_words("red giraffe, circle; ground") == ["giraffe"]
    with caplog.at_level(logging.WARNING):
        processor(text=["red Giraffe", "circle", ["ground", "lawn"]])
    assert "does not know the words Giraffe, lawn" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        processor(text=["a red circle", "ground"])
    assert not caplog.text


@pytest.mark.parametrize("how", ["weights in bfloat16", "autocast to bfloat16", "int8"])
def test_lower_precision_decides_nearly_every_pixel_alike(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, how: str
) -> None:
    kwargs = {}
    if how == "weights in bfloat16":
        kwargs["dtype"] = torch.bfloat16
    elif how == "int8":
        quantization = pytest.importorskip("torchao.quantization")
        config = quantization.Int8DynamicActivationInt8WeightConfig()
        kwargs["quantization_config"] = TorchAoConfig(config, modules_to_not_convert=["model.aggregator"])
    lower = CatSegForSemanticSegmentation.from_pretrained(TINY, **kwargs).eval()
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast to bfloat16")
    for seed in range(5):
        scene = draw_scene(seed)
        inputs = processor(images=scene.image, text=[*scene.names, "red moon", "green star", GROUND])
        with torch.inference_mode():
            expected = model(**inputs)
            with autocast:
                outputs = lower(**inputs)
        # It was computed otherwise, but decides alike.
        assert (outputs.logits - expected.logits).abs().max() > 1e-4
        label_map, expected_map = (
            processor.post_process_semantic_segmentation(each, target_sizes=[(256, 256)])[0]
            for each in (outputs, expected)
        )
        assert (label_map == expected_map).float().mean() >= 0.995


@pytest.mark.slow
def test_its_figures_are_those_of_its_card(model: CatSegForSemanticSegmentation, processor: CatSegProcessor) -> None:
    results = evaluate_on_scenes(model, processor, seed=2000, num_scenes=30)
    card = ModelCard.load(Path(TINY, "README.md"))
    stated = json.loads(card.text.split("```json\n")[1].split("```")[0])
    assert stated["miou_seen"] >= 85 and stated["miou_unseen"] >= 80
    assert results.keys() <= stated.keys()
    # Of other scenes, and a tenth of them.
    for name in ("miou_seen", "miou_unseen", "miou_colors", "miou_shapes", "miou_patterns"):
        assert results[name] == pytest.approx(stated[name], abs=6), name
    assert max(results[f"blind_to_{name}"] for name in ("pattern", "color", "shape")) < results["miou_unseen"]
