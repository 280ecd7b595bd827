# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`MeanIoU` is a metric of `evaluate` with the figures of its own mean_iou, on one process and on several."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.child_processes import WAIT_SECONDS, started


evaluate = pytest.importorskip("evaluate")

from catseg_hf.evaluation.mean_iou import MeanIoU  # noqa: E402


ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "fixtures" / "mean_iou.json").read_text())


@pytest.fixture
def metric(tmp_path: Path) -> MeanIoU:
    return MeanIoU(cache_dir=str(tmp_path))


def random_maps(number: int, num_labels: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predictions, of which some are right, and references with ignored pixels, each image of a size of its own."""
    random = np.random.default_rng(seed)
    references = [random.integers(0, num_labels, (20 + index, 31 - index)) for index in range(number)]
    predictions = [
        np.where(random.random(ids.shape) < 0.4, ids, random.integers(0, num_labels, ids.shape)) for ids in references
    ]
    for ids in references:
        ids[random.random(ids.shape) < 0.1] = 255
    return predictions, references


def plain_figures(predictions: list[np.ndarray], references: list[np.ndarray], num_labels: int) -> dict[str, float]:
    """Both means by their definitions: a loop over classes, and sets of pixels."""
    predicted, true = (np.concatenate([ids.ravel() for ids in maps]) for maps in (predictions, references))
    predicted, true = predicted[true != 255], true[true != 255]
    iou = {}
    for label in range(num_labels):
        union = ((predicted == label) | (true == label)).sum()
        if union:
            iou[label] = ((predicted == label) & (true == label)).sum() / union
    return {
        "miou_present_in_ground_truth": np.mean([value for label, value in iou.items() if (true == label).any()]),
        "miou_present_in_either": np.mean(list(iou.values())),
        "overall_accuracy": (predicted == true).mean(),
    }


@pytest.mark.parametrize("case", CASES)
def test_the_figures_are_those_of_mean_iou_of_evaluate(case: dict, metric: MeanIoU) -> None:
    # Recorded with evaluate 0.4.6 and its module metrics/mean_iou at commit a7dd338: nan became null.
    figures = metric.compute(
        predictions=[np.array(ids) for ids in case["predictions"]],
        references=[np.array(ids) for ids in case["references"]],
        num_labels=case["num_classes"],
        ignore_index=case["ignore_index"],
    )
    assert figures["mean_iou"] == figures["miou_present_in_either"]
    for name in ("mean_iou", "mean_accuracy", "overall_accuracy", "per_category_iou", "per_category_accuracy"):
        expected = np.array(case[name], dtype=float)
        np.testing.assert_allclose(figures[name], expected, atol=1e-12, equal_nan=True)


def test_both_conventions_are_their_definitions(metric: MeanIoU) -> None:
    predictions, references = random_maps(4, num_labels=20)
    for ids in references:
        ids[ids == 7] = 8  # so 7 is only predicted
    figures = metric.compute(predictions=predictions, references=references, num_labels=25)
    expected = plain_figures(predictions, references, num_labels=25)
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert figures["miou_present_in_ground_truth"] > figures["miou_present_in_either"] + 1e-3


def test_images_piece_by_piece_of_every_type(metric: MeanIoU) -> None:
    predictions, references = random_maps(5, num_labels=9)
    whole = metric.compute(predictions=predictions, references=references, num_labels=9)
    metric.add_batch(predictions=predictions[:2], references=references[:2])
    metric.add(prediction=torch.from_numpy(predictions[2]), reference=Image.fromarray(references[2].astype(np.uint8)))
    metric.add_batch(
        predictions=torch.from_numpy(predictions[3])[None], references=references[3].astype("uint16")[None]
    )
    metric.add_batch(predictions=[predictions[4].tolist()], references=[references[4].astype("int32")])
    figures = metric.compute(num_labels=9)
    assert figures.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(figures[name], value)
    # The next round begins from nothing.
    alone = metric.compute(predictions=predictions[:1], references=references[:1], num_labels=9)
    assert alone["overall_accuracy"] == pytest.approx(
        plain_figures(predictions[:1], references[:1], 9)["overall_accuracy"]
    )


@pytest.mark.parametrize("stored", ["uint8", "uint16", "int64"])
def test_reduced_labels(stored: str, metric: MeanIoU) -> None:
    predictions, references = random_maps(3, num_labels=9)
    raw = [np.where(ids == 255, 0, ids + 1).astype(stored) for ids in references]
    raw[0][:5] = 255  # not counted under either name
    references[0][:5] = 255
    expected = metric.compute(predictions=predictions, references=references, num_labels=9)
    figures = metric.compute(predictions=predictions, references=raw, num_labels=9, reduce_labels=True)
    np.testing.assert_array_equal(figures["per_category_iou"], expected["per_category_iou"])
    with pytest.raises(ValueError, match=r"`ignore_index=0` would be a class: use 255.* 0 to 8"):
        metric.compute(predictions=predictions, references=raw, num_labels=9, ignore_index=0, reduce_labels=True)


def test_more_classes_than_8_bits_with_reduced_labels(metric: MeanIoU) -> None:
    # Class 254 is stored as 255, which must not count as ignored where another value is.
    raw = [np.array([[255, 300, 0, 65535]], dtype=np.uint16)]
    predictions = [np.array([[254, 0, 1, 1]])]
    options = {"num_labels": 847, "ignore_index": 65535, "reduce_labels": True}
    figures = metric.compute(predictions=predictions, references=raw, **options)
    assert figures["overall_accuracy"] == 0.5 and figures["per_category_iou"][254] == 1


def test_what_cannot_be_counted_is_refused(metric: MeanIoU) -> None:
    ids = np.zeros((2, 3), dtype=int)
    with pytest.raises(ValueError, match="There are 2 `predictions`, but 1 `references`"):
        metric.add_batch(predictions=[ids, ids], references=[ids])
    with pytest.raises(ValueError, match=r"size \(2, 3\) and its one of `references` \(3, 2\)"):
        metric.add_batch(predictions=[ids], references=[ids.T])
    with pytest.raises(TypeError, match="`predictions` must hold integer class ids, got float64: take the argmax"):
        metric.add(prediction=ids / 2, reference=ids)
    with pytest.raises(ValueError, match=r"`predictions` must be label maps of shape .* got one of shape \(3,\)"):
        metric.add_batch(predictions=ids, references=ids)
    for predicted, true, name in ((-1, 0, "predictions"), (0, 3, "references")):
        maps = {"predictions": [ids + predicted], "references": [ids + true]}
        with pytest.raises(ValueError, match=rf"`{name}` contain the class ids"):
            MeanIoU(cache_dir=metric.data_dir).compute(**maps, num_labels=3)


PROCESS = """
import json, sys
import numpy as np
from catseg_hf.evaluation.mean_iou import MeanIoU
from tests.evaluation.test_mean_iou import random_maps

process, folder = int(sys.argv[1]), sys.argv[2]
predictions, references = random_maps(5, num_labels=9)
metric = MeanIoU(num_process=2, process_id=process, experiment_id="together", cache_dir=folder)
for index in range(process, 5, 2):
    metric.add(prediction=predictions[index], reference=references[index])
figures = metric.compute(num_labels=9)
print(json.dumps(figures, default=np.ndarray.tolist))
"""


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(metric: MeanIoU, tmp_path: Path) -> None:
    predictions, references = random_maps(5, num_labels=9)
    whole = metric.compute(predictions=predictions, references=references, num_labels=9)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    commands = [[sys.executable, "-c", PROCESS, str(index), str(tmp_path / "shared")] for index in range(2)]
    with started(commands[0], env=environment) as first, started(commands[1], env=environment) as second:
        outputs = [process.communicate(timeout=WAIT_SECONDS) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    figures, none = (json.loads(output) for output, _ in outputs)
    assert none is None  # the first process has them
    assert figures.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(figures[name], value)


def test_it_stands_beside_other_metrics_of_evaluate(metric: MeanIoU) -> None:
    predictions, references = random_maps(2, num_labels=9)
    together = evaluate.combine([metric])
    together.add_batch(predictions=predictions, references=references)
    expected = plain_figures(predictions, references, 9)["miou_present_in_either"]
    assert together.compute(num_labels=9)["mean_iou"] == pytest.approx(expected)
    assert isinstance(metric, evaluate.Metric) and "ignore_index" in metric.inputs_description


@pytest.mark.slow
def test_without_evaluate_its_extra_is_named() -> None:
    code = "import sys; sys.modules['evaluate'] = None; import catseg_hf.evaluation.mean_iou"
    with started([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        _, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert error.strip().endswith('`MeanIoU` needs the library evaluate: `pip install "catseg-hf[eval]"`.')
