# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The benchmark measures what it says, on a model small enough for tests."""

import json
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch
import typer

from catseg_hf import CatSegForSemanticSegmentation, CatSegImageProcessor
from examples import benchmark
from tests.tiny_models import tiny_model


OTHER_CODE = """
import torch
from catseg_hf import CatSegForSemanticSegmentation, CatSegImageProcessor

def build(name):
    if name != "tiny":
        raise ValueError(f"this code cannot do {name}")
    model = CatSegForSemanticSegmentation.from_pretrained("FOLDER").eval().requires_grad_(False)
    image_processor = CatSegImageProcessor.from_pretrained("FOLDER")

    def segment(image, token_ids):
        assert image.dtype == torch.uint8 and image.shape == (3, 64, 64)
        assert token_ids.dtype == torch.int64 and token_ids.shape == (5, 77)
        inputs = image_processor(image, do_resize=False, do_sliding_window=False, return_tensors="pt")
        return model(**inputs, input_ids=token_ids).logits[0]

    return segment
"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model().save_pretrained(folder)
    CatSegImageProcessor(
        image_size=64, window=64, stride=32, size={"height": 96, "width": 96}, shortest_edge=96
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def settings(model_folder: Path) -> benchmark.Settings:
    return benchmark.Settings(
        model=str(model_folder),
        config="base",
        num_templates=1,
        dtype="float32",
        autocast=False,
        int8=False,
        device="cpu",
        compile=False,
        gradient_checkpointing=False,
        threads=1,
        repeats=2,
    )


@pytest.fixture
def other_code(model_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "other.py"
    path.write_text(OTHER_CODE.replace("FOLDER", str(model_folder)))
    return path


def run_once(task: str, settings: benchmark.Settings) -> torch.Tensor | list[torch.Tensor]:
    job = benchmark.Job(task=task, num_classes=5, height=50, width=70, batch_size=2)
    with torch.set_grad_enabled(task == "train"):
        return benchmark.build_catseg(job, settings)()


def test_each_task_does_its_job(settings: benchmark.Settings) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(settings.model).eval()
    prompts = benchmark.random_prompts(5, model.config)
    with torch.no_grad():
        embeds = model.get_text_embeds(prompts)
    assert torch.allclose(run_once("text", settings), embeds, atol=1e-6)
    assert run_once("crop", settings).shape == (2, 5, 32, 32)
    assert run_once("views", settings).shape == (2, 5, 5, 32, 32)
    assert run_once("folder", settings) == 2
    for task in ("sliding", "one-view", "postprocess"):
        maps = run_once(task, settings)
        assert [tuple(labels.shape) for labels in maps] == [(50, 70), (50, 70)]
        assert all(labels.min() >= 0 and labels.max() < 5 for labels in maps)
    loss = run_once("train", settings)
    assert loss.shape == () and loss.isfinite() and not loss.requires_grad
    checkpointed = run_once("train", replace(settings, gradient_checkpointing=True))
    assert torch.allclose(loss, checkpointed, atol=1e-5)


def test_random_prompts_end_and_differ_in_length(settings: benchmark.Settings) -> None:
    config = benchmark.load_config(settings)
    prompts = benchmark.random_prompts(200, config)
    end = config.clip_config.text_config.eos_token_id
    assert prompts.shape == (200, 1, 77)
    assert (prompts == end).sum(dim=-1).eq(1).all() and prompts.amax() == end
    assert set(prompts.count_nonzero(dim=-1).flatten().tolist()) == set(range(9, 15))


@pytest.mark.slow
def test_measures_side_by_side_and_writes_everything(
    settings: benchmark.Settings, other_code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speed.json"
    benchmark.main(
        model=settings.model, num_classes=[5], repeats=2, threads=1, against=other_code, against_name="tiny", json=path
    )
    ours, other = json.loads(path.read_text())["rows"]
    assert (ours["code"], other["code"]) == ("catseg_hf", "other")
    for row in (ours, other):
        assert len(row["seconds"]) == 2 and min(row["seconds"]) > 0
        assert 0 <= row["gb_over_weights"] < row["peak_gb"] < 4
        assert row["share_of_machine_peak"] > 0
    # The same weights and the same code: the same result, and the same arithmetic but for the text tower.
    assert other["largest_difference"] < 1e-4
    assert 0 < ours["gflop"] <= other["gflop"] < 2 * ours["gflop"]
    assert other["time_ratio"] > 0 and other["memory_ratio"] > 0
    table = capsys.readouterr().out
    assert "| crop | 5 | 1 | float32 | catseg_hf |" in table and "torch: " in table


def test_what_a_code_cannot_do_is_left_out(settings: benchmark.Settings, other_code: Path) -> None:
    job = benchmark.Job(task="train", num_classes=5, height=50, width=70, batch_size=1)
    contender = benchmark.Contender("other", str(other_code), "tiny", {})
    here, there = Pipe()
    threads = torch.get_num_threads()
    try:
        benchmark.measured_process(there, job, settings, contender)
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(True)
    assert here.recv() == "this code cannot do tiny-train"
    row = {"task": "train", "num_classes": 5, "batch_size": 1, "dtype": "float32", "code": "other", "skipped": "cannot"}
    assert "| other | not measured |" in benchmark.markdown_table([row])


def test_the_suite_of_a_gpu(settings: benchmark.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(typer.BadParameter, match="no CUDA GPU here"):
        benchmark.main(suite="gpu")
    suite = benchmark.gpu_suite(settings)
    kinds = {(job.task, each.dtype, each.autocast, each.compile) for job, each in suite}
    assert {task for task, *_ in kinds} == {*benchmark.TASKS} - {"text"}
    assert ("sliding", "bfloat16", False, True) in kinds and ("train", "bfloat16", True, False) in kinds
    for job, each in suite:  # every one of them runs, on a small model and few pixels
        small = replace(job, num_classes=3, batch_size=min(2, job.batch_size), height=50, width=70)
        with torch.set_grad_enabled(job.task == "train"), torch.autocast("cpu", enabled=each.autocast):
            benchmark.build_catseg(small, replace(each, compile=False))()
    row = {"task": "train", "code": "catseg_hf", "batch_size": 4, "dtype": "float32", "median_seconds": 0.09}
    row |= {"num_classes": 171, "compile": True, "first_seconds": 61.4}
    assert list(benchmark.footnotes([row])) == [
        "80,000 training steps of 4 images, float32, compiled: 2.0 hours\n",
        "First call of train with 171 classes, compiled: 61 s\n",
    ]


def test_clipseg_is_the_peer(settings: benchmark.Settings) -> None:
    with pytest.raises(ValueError, match="up to 150 classes"):
        benchmark.build_clipseg(benchmark.Job("crop", 151, 50, 70, 1), settings)
    with pytest.raises(ValueError, match="crop and sliding"):
        benchmark.build_clipseg(benchmark.Job("train", 5, 50, 70, 1), settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": ["segment"]}, "crop, views, sliding, one-view, folder, text, postprocess, train, got segment"),
        ({"suite": "cpu"}, "must be gpu, got cpu"),
        ({"dtype": "float64"}, "float32, bfloat16, float16, got float64"),
        ({"config": "huge"}, "base, large, got huge"),
        ({"image_size": "640"}, "must be like 768x1024, got '640'"),
        ({"against_environment": ["MALLOC"]}, "must be like NAME=VALUE"),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        benchmark.main(**arguments)
