# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables and pictures show what was counted."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import EvalResult, ModelCard
from PIL import Image

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.datasets import SegmentationDataset
from catseg_hf.evaluation import (
    ConfusionMatrix,
    Evaluation,
    Protocol,
    ProtocolSegmenter,
    class_table,
    draw_class_bars,
    draw_confusions,
    draw_worst_images,
    evaluate,
    results_table,
    update_card,
    write_report,
)
from catseg_hf.evaluation.charts import BLUE, ORANGE, _draw_sample
from catseg_hf.pictures.overlays import _edges
from tests.small_evaluations import save_small_data_set, save_small_model, small_data_set


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    folder = tmp_path_factory.mktemp("data")
    save_small_data_set(folder)
    return small_data_set(folder)


@pytest.fixture(scope="module")
def model_folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small", tiny_model_folder)


@pytest.fixture(scope="module")
def segmenter(model_folder: Path, dataset: SegmentationDataset) -> ProtocolSegmenter:
    model = CatSegForSemanticSegmentation.from_pretrained(model_folder).eval()
    processor = CatSegProcessor.from_pretrained(model_folder)
    return ProtocolSegmenter(model, processor, dataset.vocabulary, Protocol("whole"))


@pytest.fixture(scope="module")
def evaluation(model_folder: Path, dataset: SegmentationDataset, segmenter: ProtocolSegmenter) -> Evaluation:
    processor = CatSegProcessor.from_pretrained(model_folder)
    return evaluate(segmenter.model, processor, dataset, segmenter.protocol, seen=["wall", "sky"])


def changed(evaluation: Evaluation, **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(evaluation.results), **fields}


def count_color(picture: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == color).all(axis=2).sum())


@pytest.mark.slow
def test_the_table_names_figures_and_conventions(evaluation: Evaluation) -> None:
    table = results_table(evaluation.results)
    metrics = evaluation.results["metrics"]
    assert table.startswith("# small on images (all)\n")
    rows = dict(line.strip("| ").split("|", 1) for line in table.splitlines() if line.startswith("| m"))
    rows = {name.strip(): value.strip() for name, value in rows.items()}
    assert f"{100 * metrics['miou_present_in_ground_truth']:.2f} %" in table
    assert f"{100 * metrics['miou_present_in_either']:.2f} %" in table
    assert rows.keys() == {"mIoU, classes in the ground truth", "mIoU, classes in ground truth or prediction"}
    assert all("seen" in value for value in rows.values()), (
        "the last rows of these names are of seen and unseen classes"
    )
    assert "2 seen, 3 unseen classes" in table and "5 of 5" in table and "| whole |" in table
    assert "TRIAL" not in table.upper() and "unreadable" not in table


def test_the_table_warns_of_what_is_not_comparable(evaluation: Evaluation) -> None:
    assert "**A trial on the first 2 images only" in results_table(changed(evaluation, limit=2, num_images=2))
    assert "**1 unreadable image(s) left out" in results_table(changed(evaluation, unreadable_images={"3": "x.png"}))
    protocol = {**evaluation.results["protocol"], "scales": [0.5, 1.0], "flip": True, "shortest_edge": 520}
    table = results_table(changed(evaluation, protocol=protocol))
    assert "| whole, shortest edge 520 |" in table and "| scales 0.5, 1.0 and mirrored |" in table


def test_the_class_table_has_all_classes(evaluation: Evaluation) -> None:
    lines = class_table(evaluation.results).splitlines()[4:]
    assert [line.split(" | ")[1] for line in lines] == ["wall", "sky", "tree", "traffic light", "dog"]
    assert "| 4 | dog | 0.00 % | – | 0 |" in lines[4]
    per_class = [{**evaluation.results["per_class"][0], "name": "a|b"}]
    assert "| a\\|b |" in class_table(changed(evaluation, per_class=per_class))


def test_bars_are_as_long_as_the_iou(evaluation: Evaluation) -> None:
    per_class = [
        {"name": "half", "iou": 0.5, "accuracy": 0.5, "pixels": 9, "predicted_pixels": 9},
        {"name": "all", "iou": 1.0, "accuracy": 1.0, "pixels": 9, "predicted_pixels": 9},
        {"name": "absent", "iou": 0.0, "accuracy": None, "pixels": 0, "predicted_pixels": 9},
        {"name": "nowhere", "iou": None, "accuracy": None, "pixels": 0, "predicted_pixels": 0},
    ]
    alone = draw_class_bars(changed(evaluation, per_class=per_class, seen_unseen=None))
    rows = np.unique(np.flatnonzero((np.asarray(alone) == BLUE).all(axis=2).any(axis=1)))
    # Two bars of 14 pixels.
    assert len(rows) == 28
    assert count_color(alone.crop((0, rows[0], alone.width, rows[0] + 1)), BLUE) == 201
    assert count_color(alone.crop((0, rows[-1], alone.width, rows[-1] + 1)), BLUE) == 101
    split = {**evaluation.results["seen_unseen"], "unseen_class_ids": [1, 2, 3]}
    both = draw_class_bars(changed(evaluation, per_class=per_class, seen_unseen=split))
    assert count_color(both, ORANGE) > count_color(both, BLUE) > 0


@pytest.mark.parametrize("number", [1, 30, 847])
def test_pictures_of_any_number_of_classes(number: int, evaluation: Evaluation) -> None:
    matrix = ConfusionMatrix(number, class_names=[f"class {index} of a rather long name" for index in range(number)])
    matrix.matrix = torch.randint(0, 9, (number, number), generator=torch.Generator().manual_seed(0))
    per_class = matrix.compute()["per_class"]
    bars = draw_class_bars(changed(evaluation, per_class=per_class))
    assert max(bars.size) < 5000
    assert max(draw_confusions(matrix).size) < 1500


def test_pictures_of_nothing(evaluation: Evaluation) -> None:
    matrix = ConfusionMatrix(3)
    draw_confusions(matrix)
    draw_class_bars(changed(evaluation, per_class=matrix.compute()["per_class"]))


def test_confusions_show_where_pixels_went() -> None:
    matrix = ConfusionMatrix(4, class_names=["a", "b", "c", "d"])
    # All of a went to b; b and c were found; d does not occur.
    matrix.matrix = torch.tensor([[0, 8, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0], [0, 0, 0, 0]])
    picture = draw_confusions(matrix)
    wrong, right = count_color(picture, ORANGE), count_color(picture, BLUE)
    assert wrong > 0 and right == pytest.approx(2 * wrong, rel=0.1)


def test_the_worst_images_come_first_beside_their_labels(
    evaluation: Evaluation, dataset: SegmentationDataset, segmenter: ProtocolSegmenter
) -> None:
    worst = list(draw_worst_images(evaluation, dataset, segmenter, 3))
    assert [score for _, score, _ in worst] == sorted(evaluation.image_scores.values())[:3]
    order = sorted(evaluation.image_scores, key=evaluation.image_scores.get)[:3]
    assert [sample.name for sample, _, _ in worst] == [dataset[index].name for index in order]
    for sample, _, picture in worst:
        assert picture.width > 3 * sample.image.width and picture.height > sample.image.height


def test_labels_and_prediction_have_the_same_colours(dataset: SegmentationDataset) -> None:
    sample = dataset[0]
    predictions = {"right": np.where(sample.labels == 255, 2, sample.labels), "wrong": np.full_like(sample.labels, 2)}
    for name, prediction in predictions.items():
        picture = _draw_sample(sample, prediction, dataset.class_names, 255, "Prediction")
        photo, truth, predicted = (
            # Below the headings; photos of 80 pixels stand in the middle of legends of 160.
            np.asarray(picture.crop((left, 32, left + 80, 32 + 60)))
            for left in (12, 12 + 172 + 40, 12 + 2 * 172 + 40)
        )
        counted = sample.labels != 255
        assert np.array_equal(photo, np.asarray(sample.image))
        inside = counted & ~_edges(sample.labels, 2)
        assert (truth[inside] == predicted[inside]).all() == (name == "right")
        assert np.array_equal(truth[~counted & ~_edges(sample.labels, 2)], photo[~counted & ~_edges(sample.labels, 2)])


def test_an_image_without_labels_is_not_among_the_worst(
    evaluation: Evaluation, dataset: SegmentationDataset, segmenter: ProtocolSegmenter
) -> None:
    scores = {**evaluation.image_scores, 0: float("nan")}
    other = Evaluation(evaluation.results, evaluation.matrix, scores)
    assert len(list(draw_worst_images(other, dataset, segmenter, 9))) == 4


def test_the_report_links_what_it_wrote(
    evaluation: Evaluation, dataset: SegmentationDataset, segmenter: ProtocolSegmenter, tmp_path: Path
) -> None:
    write_report(evaluation, tmp_path / "out", dataset, segmenter, num_worst=2)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    links = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(links) == 4
    for link in links:
        Image.open(tmp_path / "out" / link).verify()
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"report.md", *links}


def test_the_card_gets_both_conventions(evaluation: Evaluation, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("---\nlibrary_name: transformers\n---\n\n# My model\n")
    for _ in range(2):  # the second time takes the place of the first
        assert update_card(tmp_path, evaluation.results, dataset_revision="v1") == card
    results: list[EvalResult] = ModelCard.load(card).data.eval_results
    assert len(results) == 2 and ModelCard.load(card).text.strip() == "# My model"
    assert {(result.dataset_name, result.dataset_split, result.dataset_revision) for result in results} == {
        ("images", "all", "v1")
    }
    assert results[0].metric_name != results[1].metric_name
    assert results[0].metric_args["name"] == "whole"
    values = [round(100 * evaluation.results["metrics"][name], 2) for name in evaluation.results["conventions"]]
    assert [result.metric_value for result in results] == values


def test_the_card_takes_complete_evaluations_only(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My model\n")
    with pytest.raises(ValueError, match="4 of 5 images of images: no such figure belongs in a model card"):
        update_card(tmp_path, changed(evaluation, num_images=4))
    metrics = dict.fromkeys(evaluation.results["metrics"])
    with pytest.raises(ValueError, match="No pixel of images counts"):
        update_card(tmp_path, changed(evaluation, metrics=metrics))
    assert (tmp_path / "README.md").read_text() == "# My model\n"
