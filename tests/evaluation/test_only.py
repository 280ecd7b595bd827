# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Single classes of a data set: what is counted of them, alone and with others."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.datasets import load_benchmark
from catseg_hf.evaluation import ConfusionMatrix, Protocol, ProtocolSegmenter, evaluate, only_classes, only_table
from catseg_hf.evaluation.only import EVERYTHING_ELSE
from tests.mini_datasets import write_mini_benchmark
from tests.small_evaluations import save_small_data_set, save_small_model, small_data_set


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model` and `data`."""
    folder = tmp_path_factory.mktemp("only")
    save_small_model(folder / "model", tiny_model_folder)
    save_small_data_set(folder / "data")
    return folder


def test_only_some_classes_are_told_apart(folder: Path) -> None:
    data = small_data_set(folder / "data")
    some = only_classes(data, ["shrub", "walls"])
    assert some.class_names == ["shrub", "walls", EVERYTHING_ELSE] and some.vocabulary == ["shrub", "walls"]
    for index in range(len(data)):
        before, after = data[index].labels, some[index].labels
        expected = np.select([before == 255, before == 2, before == 0], [255, 0, 1], 2)
        assert np.array_equal(after, expected) and {0, 1, 2, 255} >= set(np.unique(after))
    assert pickle.loads(pickle.dumps(some))[0].labels.shape == some[0].labels.shape


def test_a_class_can_be_named_by_a_synonym(tmp_path: Path) -> None:
    write_mini_benchmark("pascal_voc_20", tmp_path, number=1)
    data = load_benchmark("pascal_voc_20", tmp_path)
    assert only_classes(data, ["couch", "cars"]).read.new_ids.tolist().index(0) == data.class_names.index("sofa")
    with pytest.raises(ValueError, match="pascal_voc_20 has no class 'unicorn': it has aeroplane"):
        only_classes(data, ["cat", "unicorn"])
    with pytest.raises(ValueError, match="'couch' is 'sofa' of pascal_voc_20, which was named twice"):
        only_classes(data, ["sofa", "couch"])


@pytest.mark.slow
@pytest.mark.parametrize("tta", [False, True])
def test_others_take_pixels_and_are_counted_as_everything_else(folder: Path, tta: bool, tmp_path: Path) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(folder / "model").eval()
    processor = CatSegProcessor.from_pretrained(folder / "model")
    data = only_classes(small_data_set(folder / "data"), ["wall", "tree"])
    protocol = Protocol("whole", (0.75, 1.0), flip=True) if tta else Protocol("whole")
    others = ["sky", "trees", "traffic light", "dog"]
    plain = ProtocolSegmenter(model, processor, ["wall", "tree", "sky", "traffic light", "dog"], protocol)
    expected = ConfusionMatrix(3)
    for index in range(len(data)):
        sample = data[index]
        expected.update(plain([sample.image], [sample.labels.shape])[0].clamp(max=2), sample.labels)
    result = evaluate(model, processor, data, protocol, others=others, output=tmp_path / "with")
    assert torch.equal(result.matrix.matrix, expected.matrix)
    alone = evaluate(model, processor, data, protocol, output=tmp_path / "alone")
    assert alone.matrix.matrix[:, 2].sum() == 0 < expected.matrix[:, 2].sum()
    with pytest.raises(ValueError, match="others_sha256"):
        evaluate(model, processor, data, protocol, output=tmp_path / "with")

    rows = only_table({"alone": alone, "with": result}).splitlines()[-4:]
    assert [row.split(" | ")[:2] for row in rows] == [["| wall", w] for w in ("alone", "with")] + [
        ["| tree", w] for w in ("alone", "with")
    ]
    counts = expected.matrix[0]
    found, predicted, there = counts[0].item(), expected.matrix[:, 0].sum().item(), counts.sum().item()
    figures = found / predicted, found / there, found / (predicted + there - found)
    assert rows[1] == f"| wall | with | {' | '.join(f'{100 * each:.2f} %' for each in figures)} |"
