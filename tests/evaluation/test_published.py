# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The published figure stands beside the measured one of a released checkpoint, and beside no other."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.conversion import PUBLISHED, convert_checkpoint
from catseg_hf.conversion.released import FIGURES, RELEASED_FILE, published_figure, weights_digest
from catseg_hf.datasets import SegmentationDataset, benchmarks, load_benchmark
from catseg_hf.evaluation import Protocol, evaluate, load_evaluation, results_table
from catseg_hf.evaluation.published import beside_published
from tests.mini_datasets import write_mini_benchmark


pytest.importorskip("accelerate")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def released_folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversion of a file that is taken for the released `base`."""
    folder = tmp_path_factory.mktemp("released") / "base"
    convert_checkpoint(tiny_checkpoint, folder, released="base")
    return folder


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentationDataset:
    """A benchmark that is complete with two images."""
    build, _ = benchmarks._BENCHMARKS["pascal_voc_20"]
    monkeypatch.setitem(benchmarks._BENCHMARKS, "pascal_voc_20", (build, {"val": 2}))
    write_mini_benchmark("pascal_voc_20", tmp_path, number=2)
    return load_benchmark("pascal_voc_20", tmp_path)


def results_of(folder: Path, dataset: SegmentationDataset, **options: Any) -> dict[str, Any]:
    model = CatSegForSemanticSegmentation.from_pretrained(folder, dtype=options.pop("dtype", torch.float32)).eval()
    return evaluate(model, CatSegProcessor.from_pretrained(folder), dataset, **options).results


@pytest.mark.slow
def test_a_released_checkpoint_is_compared(released_folder: Path, dataset: SegmentationDataset, tmp_path: Path) -> None:
    results = results_of(released_folder, dataset, output=tmp_path / "out")
    measured = results["metrics"]["miou_present_in_ground_truth"]
    assert 0 < measured < 0.9
    assert results["published"] == {
        "checkpoint": "base",
        "source": "README of https://github.com/cvlab-kaist/CAT-Seg, state of CVPR 2024",
        "convention": "miou_present_in_ground_truth",
        "published": 0.946,
        "measured": measured,
        "difference": measured - 0.946,
    }
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["published"] == results["published"]
    (row,) = [line for line in results_table(results).splitlines() if "`base`" in line]
    difference = f"{100 * measured - 94.6:+.2f}"
    assert (
        f"published 94.6 %, measured {100 * measured:.2f} %, difference {difference} points (README of https://" in row
    )
    # Files of before say nothing of it.
    del written["published"]
    (tmp_path / "out" / "results.json").write_text(json.dumps(written))
    assert "`base`" not in results_table(load_evaluation(tmp_path / "out").results)


@pytest.mark.slow
def test_a_descendant_is_not(released_folder: Path, dataset: SegmentationDataset, tmp_path: Path) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(released_folder)
    model.decoder.head.bias.data += 1e-3
    tuned = tmp_path / "tuned"
    shutil.copytree(released_folder, tuned)  # with what the released one says of itself
    model.save_pretrained(tuned)
    assert (tuned / RELEASED_FILE).is_file()
    assert results_of(tuned, dataset)["published"] is None


def compared(folder: Path, dataset: SegmentationDataset, protocol: Protocol) -> dict[str, Any] | None:
    """What stands beside an evaluation of the released weights that gave 90 %."""
    digest = weights_digest(CatSegForSemanticSegmentation.from_pretrained(folder))
    metrics = {"miou_present_in_ground_truth": 0.9}
    return beside_published(str(folder), dataset, protocol, {"weights_sha256": digest}, len(dataset), metrics)


@pytest.mark.parametrize("damaged", [None, "", "[]", "{}", '{"name": "base"}'])
def test_without_a_readable_statement_nothing_is_claimed(
    damaged: str | None, released_folder: Path, dataset: SegmentationDataset, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(released_folder, folder)
    assert compared(folder, dataset, Protocol())["measured"] == 0.9
    if damaged is None:
        (folder / RELEASED_FILE).unlink()
    else:
        (folder / RELEASED_FILE).write_text(damaged)
    assert compared(folder, dataset, Protocol()) is None


@pytest.mark.parametrize("protocol", [Protocol("whole"), Protocol(shortest_edge=320)])
def test_another_protocol_is_not_compared(
    protocol: Protocol, released_folder: Path, dataset: SegmentationDataset
) -> None:
    assert compared(released_folder, dataset, Protocol()) is not None
    assert compared(released_folder, dataset, protocol) is None


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"limit": 1}, {"dtype": torch.bfloat16}])
def test_what_was_measured_otherwise_is_not_compared(
    options: dict[str, Any], released_folder: Path, dataset: SegmentationDataset
) -> None:
    assert results_of(released_folder, dataset, **options)["published"] is None


@pytest.mark.slow
def test_an_incomplete_benchmark_is_not_compared(released_folder: Path, tmp_path: Path) -> None:
    write_mini_benchmark("pascal_voc_20", tmp_path, number=2)
    assert results_of(released_folder, load_benchmark("pascal_voc_20", tmp_path))["published"] is None


def test_only_conversions_by_name_with_default_options_are_released_ones(
    tiny_checkpoint: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catseg_hf.conversion.command import main

    assert not (tiny_model_folder / RELEASED_FILE).exists()
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    originals = tmp_path / "catseg_hf" / "originals"
    originals.mkdir(parents=True)
    shutil.copy(tiny_checkpoint, originals / "model_base.pth")
    monkeypatch.chdir(tmp_path)
    assert main(["base", "plain"]) == main(["base", "other", "--inference-pooling-size", "2", "2"]) == 0
    assert json.loads(Path("plain", RELEASED_FILE).read_text())["name"] == "base"
    assert not Path("other", RELEASED_FILE).exists()


def test_the_tables_of_the_documents_are_the_figures() -> None:
    assert FIGURES["checkpoints"].keys() | FIGURES["quoted"].keys() == PUBLISHED.keys()
    assert published_figure("mmseg-base", "ade20k_150") is None and published_figure("tiny", "ade20k_150") is None
    page = (ROOT / "convert" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in FIGURES["checkpoints"]:
        values = [f"{published_figure(name, benchmark):.1f}" for benchmark in FIGURES["benchmarks"]]
        assert f"| `{name}` | {' | '.join(values)} |" in page
        shown = published_figure(name, "ade20k_150"), published_figure(name, "pascal_context_59")
        assert re.search(rf"^\| `{name}` \|.*\| {shown[0]:.1f} \| {shown[1]:.1f} \|$", readme, flags=re.MULTILINE)
