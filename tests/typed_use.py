# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The package as typed code uses it: `make quality` has mypy check this file, strictly, and nothing runs it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import EvalResult, ModelCard
from PIL import Image
from typing_extensions import assert_type

from catseg_hf import (
    TINY,
    CatSegConfig,
    CatSegForSemanticSegmentation,
    CatSegImageProcessor,
    CatSegProcessor,
    Segmentation,
    Segmenter,
    load_vocabulary,
    parse_labels,
)
from catseg_hf.cards import create_model_card, evaluation_result, update_model_card, write_model_card
from catseg_hf.conversion import (
    ConversionOptions,
    ConversionReport,
    convert_checkpoint,
    fetch_original,
    load_original,
    original_state_dict,
)
from catseg_hf.datasets import Sample, SegmentationDataset, load_benchmark, load_folder
from catseg_hf.evaluation import (
    ConfusionMatrix,
    Evaluation,
    Protocol,
    ProtocolSegmenter,
    evaluate,
    load_evaluation,
    results_table,
)
from catseg_hf.formats import AnnotationOptions
from catseg_hf.hub import find_model, push_folder
from catseg_hf.modeling_catseg import CatSegSemanticSegmenterOutput
from catseg_hf.pictures import heat_map, overlay
from catseg_hf.scenes import draw_scene
from catseg_hf.training import Collator, Recipe, TrainingSamples, parameter_groups, start_model


def segment(photo: Image.Image, labels: list[str | list[str]]) -> Image.Image:
    processor = CatSegProcessor.from_pretrained(TINY)
    model = CatSegForSemanticSegmentation.from_pretrained(TINY, dtype=torch.bfloat16)
    assert_type(model.config, CatSegConfig)
    model.eval()
    inputs = processor(images=photo, text=labels, return_tensors="pt", device="cpu")
    outputs = model(**inputs)
    sizes = [(photo.height, photo.width)]
    label_map = processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0]
    scores = processor.post_process_class_scores(outputs, target_sizes=sizes)[0]
    names = parse_labels("cat; grass, lawn")
    assert_type(names, list[str | list[str]])
    assert_type(heat_map(photo, scores[0], "cat"), Image.Image)
    return overlay(photo, label_map, labels, opacity=0.5, legend=False)


def hold(photo: Image.Image, paths: list[Path], array: np.ndarray, tensor: torch.Tensor) -> dict[str, Any]:
    segmenter = Segmenter.from_pretrained("tiny", labels=["cat", ["grass", "lawn"]], others="own", dtype="float32")
    found = segmenter(photo)
    assert_type(found, Segmentation)
    assert_type(segmenter("photo.jpg"), Segmentation)
    assert_type(segmenter(Path("photo.jpg")), Segmentation)
    assert_type(segmenter(paths, batch_size=4), Iterator[Segmentation])
    assert_type(segmenter(image for image in (photo, photo)), Iterator[Segmentation])
    other = segmenter.with_labels("dog, sofa", threshold=0.3, background="rest")
    assert_type(other, Segmenter)
    again = Segmenter(segmenter.model, segmenter.processor, ["dog"], others=["sofa"])
    assert_type(again(tensor), Segmentation)
    one: Segmentation = again(array)
    assert_type(one.class_ids, np.ndarray)
    assert_type(one.scores, np.ndarray | None)
    assert_type(found.names, list[str])
    assert_type(found.mask("cat"), Image.Image)
    assert_type(found.overlay(legend=False), Image.Image)
    found.save("overlay.jpg")
    found.save(Path("annotations.json"), format="coco", options=AnnotationOptions(min_area=20))
    return found.to_coco(AnnotationOptions(simplify=1))


def logits(model: CatSegForSemanticSegmentation, processor: CatSegProcessor, photo: Image.Image) -> torch.Tensor | None:
    views = CatSegImageProcessor(image_size=384)(photo, return_tensors="pt")
    inputs = processor(images=[photo], text="cat, grass", return_tensors="pt", padding="max_length")
    outputs: CatSegSemanticSegmenterOutput = model(**views, input_ids=inputs["input_ids"])
    assert_type(processor.post_process_best_classes(outputs), list[tuple[torch.Tensor, torch.Tensor]])
    return outputs.logits


def measure(folder: Path, model: CatSegForSemanticSegmentation, processor: CatSegProcessor) -> Path:
    dataset = load_benchmark("ade20k_150", folder, split="val")
    assert_type(dataset, SegmentationDataset)
    assert_type(dataset[0], Sample)
    result = evaluate(model, processor, dataset, Protocol("whole"), output=folder, seen=["cat", ["grass", "lawn"]])
    assert_type(result, Evaluation)
    assert_type(load_evaluation(folder), Evaluation | None)
    assert_type(results_table(result.results), str)
    maps = ProtocolSegmenter(model, processor, dataset.vocabulary)([dataset[0].image], [(10, 20)])
    matrix = ConfusionMatrix(2, class_names=["cat", "grass"])
    matrix.update(maps[0], np.zeros((10, 20), dtype=np.uint8))
    assert_type(matrix.compute(), dict[str, Any])
    entry = evaluation_result(0.5, dataset_name="ADE20K", dataset_type="ade20k_150", dataset_split="val")
    assert_type(entry, EvalResult)
    return update_model_card(folder, [entry])


def convert(checkpoint: Path, output: str) -> dict[str, torch.Tensor]:
    report = convert_checkpoint(
        checkpoint, output, options=ConversionOptions(text_heads=8), vocabulary=["cat", ["a", "b"]]
    )
    assert_type(report, ConversionReport)
    assert_type(load_original("base"), Path)
    assert_type(fetch_original("base"), Path)
    return original_state_dict(CatSegForSemanticSegmentation.from_original("v1-base"))


def train(images: Path, labels: Path) -> torch.optim.Optimizer:
    dataset = load_folder(images, labels, "classes.txt", reduce_labels=True)
    recipe = Recipe.cvpr(steps=100)
    model, processor = start_model("catseg-base")
    samples = TrainingSamples(dataset, recipe, ignore_index=255)
    batch = Collator(processor)([samples[0]])
    assert_type(batch, dict[str, torch.Tensor])
    return torch.optim.AdamW(parameter_groups(model, recipe))


def share(folder: Path) -> str:
    model = CatSegForSemanticSegmentation(CatSegConfig.vit_base())
    card = create_model_card(model, name="user/plants", license="mit")
    assert_type(card, ModelCard)
    assert_type(write_model_card(folder, model, license="mit"), bool)
    assert_type(load_vocabulary("ade20k_847"), list[str | list[str]])
    assert_type(draw_scene(3).image, Image.Image)
    assert_type(find_model("tiny"), str)
    return push_folder(folder, "user/plants", private=True)
