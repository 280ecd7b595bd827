# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The figures agree with those computed by hand, with detectron2's rules and with `evaluate`'s mean_iou."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from catseg_hf.evaluation import ConfusionMatrix


FIXTURES = Path(__file__).parents[1] / "fixtures"


def random_maps(
    num_classes: int, ignore_index: int = 255, shape: tuple[int, ...] = (3, 20, 30), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, of which about a third is right, and references with ignored pixels."""
    random = np.random.default_rng(seed)
    references = random.integers(0, num_classes, shape)
    predictions = np.where(random.random(shape) < 1 / 3, references, random.integers(0, num_classes, shape))
    references[random.random(shape) < 0.1] = ignore_index
    return predictions, references


def detectron2_miou(matrix: np.ndarray, only_ground_truth: bool) -> float:
    """detectron2's rule, of today (`only_ground_truth`) and of version 0.6, for a matrix with references as rows."""
    true_positives, references, predictions = np.diag(matrix).astype(float), matrix.sum(axis=1), matrix.sum(axis=0)
    union = references + predictions - true_positives
    valid = (references > 0) & (union > 0) if only_ground_truth else union > 0
    return float(np.sum(true_positives[valid] / union[valid]) / np.sum(valid))


def test_worked_example_in_both_conventions() -> None:
    # cat: 3 of 4 pixels found, 1 called dog; grass: 2 of 2; dog was only predicted; sky occurs nowhere.
    predictions = torch.tensor([[0, 0, 0, 2], [1, 1, 3, 3]])
    references = torch.tensor([[0, 0, 0, 0], [1, 1, 255, 255]])
    metric = ConfusionMatrix(4, class_names=["cat", "grass", "dog", "sky"])
    metric.update(predictions, references)
    assert metric.matrix.tolist() == [[3, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    results = metric.compute()
    table = results.pop("per_class")
    assert results == pytest.approx(
        {
            "miou_present_in_ground_truth": (3 / 4 + 1) / 2,  # cat, grass
            "miou_present_in_either": (3 / 4 + 1 + 0) / 3,  # and dog
            "pixel_accuracy": 5 / 6,
            "mean_accuracy": (3 / 4 + 1) / 2,
            "frequency_weighted_iou": (4 * 3 / 4 + 2 * 1) / 6,
        }
    )
    assert table[0] == {"name": "cat", "iou": 0.75, "accuracy": 0.75, "pixels": 4, "predicted_pixels": 3}
    assert table[2]["iou"] == 0 and math.isnan(table[2]["accuracy"]) and table[2]["predicted_pixels"] == 1
    assert math.isnan(table[3]["iou"]) and table[3]["pixels"] == table[3]["predicted_pixels"] == 0


def test_both_rules_of_detectron2_on_the_same_matrix() -> None:
    predictions, references = random_maps(30)
    # Classes that occur nowhere, only in the reference, and only in the prediction.
    references[np.isin(references, [3, 4])] = 5
    predictions[np.isin(predictions, [3, 7])] = 5
    metric = ConfusionMatrix(30)
    metric.update(predictions, references)
    matrix, results = metric.matrix.numpy(), metric.compute()
    today, older = detectron2_miou(matrix, only_ground_truth=True), detectron2_miou(matrix, only_ground_truth=False)
    assert results["miou_present_in_ground_truth"] == pytest.approx(today, abs=1e-12)
    assert results["miou_present_in_either"] == pytest.approx(older, abs=1e-12)
    assert today > older + 1e-3


@pytest.mark.parametrize("case", json.loads((FIXTURES / "mean_iou.json").read_text()))
def test_agrees_with_mean_iou_of_evaluate(case: dict) -> None:
    # Recorded with evaluate 0.4.6 and its module metrics/mean_iou at commit a7dd338: nan became null.
    metric = ConfusionMatrix(case["num_classes"], ignore_index=case["ignore_index"])
    for predictions, references in zip(case["predictions"], case["references"], strict=True):
        metric.update(np.array(predictions), np.array(references))
    results = metric.compute()
    assert results["miou_present_in_either"] == pytest.approx(case["mean_iou"], abs=1e-12)
    assert results["mean_accuracy"] == pytest.approx(case["mean_accuracy"], abs=1e-12)
    assert results["pixel_accuracy"] == pytest.approx(case["overall_accuracy"], abs=1e-12)
    for row, iou, accuracy in zip(
        results["per_class"], case["per_category_iou"], case["per_category_accuracy"], strict=True
    ):
        assert row["iou"] == pytest.approx(math.nan if iou is None else iou, abs=1e-12, nan_ok=True)
        assert row["accuracy"] == pytest.approx(math.nan if accuracy is None else accuracy, abs=1e-12, nan_ok=True)


def test_without_any_counted_pixel_every_figure_is_nan() -> None:
    metric = ConfusionMatrix(2)
    metric.update(np.zeros((2, 2), dtype=int), np.full((2, 2), 255))
    results = metric.compute()
    assert all(math.isnan(value) for name, value in results.items() if name != "per_class")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "int64"])
def test_every_integer_type_counts_the_same(dtype: str) -> None:
    predictions, references = random_maps(20)
    expected = ConfusionMatrix(20)
    expected.update(predictions, references)
    for convert in (np.asarray, torch.from_numpy):
        metric = ConfusionMatrix(20)
        metric.update(convert(predictions.astype(dtype)), convert(references.astype(dtype)))
        assert torch.equal(metric.matrix, expected.matrix)


def test_ids_of_16_bits() -> None:
    predictions, references = random_maps(847, ignore_index=65535)
    metric = ConfusionMatrix(847, ignore_index=65535)
    metric.update(predictions.astype(np.uint16), references.astype(np.uint16))
    assert metric.matrix.sum() == (references != 65535).sum()
    place = np.argwhere(references != 65535)[0]
    assert metric.matrix[references[tuple(place)], predictions[tuple(place)]] > 0


def test_a_batch_its_images_and_merged_parts_give_the_same_matrix() -> None:
    predictions, references = random_maps(10)
    whole, single, part = ConfusionMatrix(10), ConfusionMatrix(10), ConfusionMatrix(10)
    whole.update(predictions, references)
    for index in (2, 0):
        single.update(predictions[index], references[index])
    part.update(predictions[1], references[1])
    single.merge(part)
    assert torch.equal(whole.matrix, single.matrix)
    assert whole.matrix.dtype == torch.int64 and whole.matrix.sum() == (references != 255).sum()


def test_state_dict_continues_and_is_a_copy() -> None:
    predictions, references = random_maps(10)
    metric, resumed = ConfusionMatrix(10), ConfusionMatrix(10)
    metric.update(predictions[0], references[0])
    state = metric.state_dict()
    metric.update(predictions[1], references[1])
    resumed.load_state_dict(state)
    assert not torch.equal(resumed.matrix, metric.matrix)
    resumed.update(predictions[1], references[1])
    assert torch.equal(resumed.matrix, metric.matrix)
    for matrix in (torch.zeros(9, 9, dtype=torch.int64), torch.zeros(10, 10), torch.full((10, 10), -1)):
        with pytest.raises(ValueError, match=r"int64 counts of shape \(10, 10\)"):
            resumed.load_state_dict({"matrix": matrix})


def test_memory_does_not_grow_with_images() -> None:
    metric = ConfusionMatrix(10)
    sizes = []
    for seed in range(3):
        metric.update(*random_maps(10, seed=seed))
        sizes.append(len(pickle.dumps(metric)))
    assert len(set(sizes)) == 1


def test_reference_id_out_of_range_is_named() -> None:
    metric = ConfusionMatrix(3)
    for wrong in (3, 254, -1):
        with pytest.raises(ValueError, match=rf"`references` contain the class ids \[{wrong}\].*0 to 2.*255"):
            metric.update(np.zeros((1, 2), dtype=int), np.array([[0, wrong]]))
    assert metric.matrix.sum() == 0


def test_prediction_out_of_range_is_named_where_it_counts() -> None:
    metric = ConfusionMatrix(3)
    for wrong in (3, 255, -1):
        with pytest.raises(ValueError, match=rf"`predictions` contain the class ids \[{wrong}\].*0 to 2"):
            metric.update(np.array([[0, wrong]]), np.zeros((1, 2), dtype=int))
    metric.update(np.array([[0, 255]]), np.array([[0, 255]]))
    assert metric.matrix.sum() == 1


def test_wrong_arguments_are_refused() -> None:
    metric = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and `references` \(3, 2\)"):
        metric.update(np.zeros((2, 3), dtype=int), np.zeros((3, 2), dtype=int))
    with pytest.raises(TypeError, match="`predictions` must hold integer class ids, got torch.float32"):
        metric.update(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="each of 3 classes, got 2"):
        ConfusionMatrix(3, class_names=["a", "b"])
    for other in (ConfusionMatrix(4), ConfusionMatrix(3, ignore_index=0)):
        with pytest.raises(ValueError, match="cannot be added to"):
            metric.merge(other)
