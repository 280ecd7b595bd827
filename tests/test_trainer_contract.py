# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model in Transformers' `Trainer`, as it is, and offloaded by accelerate."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import EvalPrediction, Trainer, TrainingArguments

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.training import preprocess_logits_for_metrics
from tests.tiny_models import random_images
from tests.tiny_pipelines import VOCABULARY, save_tiny_pipeline


IGNORED = 255


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def examples(tiny_folder: Path) -> list[dict[str, torch.Tensor]]:
    """What a data set for `Trainer` yields: one image in plain mode with its labels, without any text."""
    processor = CatSegProcessor.from_pretrained(tiny_folder)
    random = np.random.default_rng(0)
    result = []
    for _ in range(6):
        image = random.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        labels = np.kron(random.integers(0, len(VOCABULARY), (5, 7)), np.ones((10, 10), dtype=np.int64))
        labels[:5] = IGNORED
        inputs = processor(images=image, segmentation_maps=labels, do_sliding_window=False)
        result.append({name: values[0] for name, values in inputs.items()})
    return result


def load(folder: Path, **kwargs: Any) -> CatSegForSemanticSegmentation:
    return CatSegForSemanticSegmentation.from_pretrained(folder, **kwargs)


def make_trainer(model: CatSegForSemanticSegmentation, folder: Path, examples: list[Any], **kwargs: Any) -> Trainer:
    arguments = {
        "output_dir": str(folder / "run"),
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_steps": 3,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
        **kwargs,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=examples,
        eval_dataset=examples,
        processing_class=CatSegProcessor.from_pretrained(model.config.name_or_path),
        compute_metrics=accuracy,
        preprocess_logits_for_metrics=preprocess_logits_for_metrics,
    )


def accuracy(result: EvalPrediction) -> dict[str, float]:
    assert result.predictions.dtype == np.int16 and result.predictions.shape == result.label_ids.shape
    counted = result.label_ids != IGNORED
    return {"accuracy": float((result.predictions == result.label_ids)[counted].mean())}


@pytest.mark.slow
def test_train_evaluate_save_and_load(tiny_folder: Path, examples: list[Any], tmp_path: Path) -> None:
    model = load(tiny_folder)
    before = copy.deepcopy(model.state_dict())
    trainer = make_trainer(model, tmp_path, examples)
    trained = trainer.train()
    assert trained.global_step == 3 and np.isfinite(trained.training_loss)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert not changed & frozen and any(name.startswith("decoder") for name in changed)
    assert any("clip.vision_model" in name for name in changed) and any("clip.text_model" in name for name in changed)

    metrics = trainer.evaluate()
    model.eval()
    batch = {name: torch.stack([example[name] for example in examples]) for name in examples[0]}
    with torch.no_grad():
        outputs = model(**batch)
    best = F.interpolate(outputs.logits, size=(64, 64), mode="bilinear", align_corners=False).argmax(dim=1)
    counted = batch["labels"] != IGNORED
    assert metrics["eval_accuracy"] == pytest.approx(float((best == batch["labels"])[counted].float().mean()))
    assert metrics["eval_loss"] == pytest.approx(float(outputs.loss), rel=1e-5)

    # A checkpoint is a folder like any other, the processor in it, and training goes on from it.
    (checkpoint,) = (tmp_path / "run").iterdir()
    loaded = load(checkpoint).eval()
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, outputs.logits)
    assert list(loaded.config.id2label.values()) == ["person", "cat, kitten", "grass", "sky"]
    assert CatSegProcessor.from_pretrained(checkpoint).to_dict() == trainer.processing_class.to_dict()
    resumed = make_trainer(load(tiny_folder), tmp_path, examples, max_steps=4)
    assert resumed.train(resume_from_checkpoint=str(checkpoint)).global_step == 4


def test_accumulated_steps_are_those_of_one_large_batch(tiny_folder: Path, examples: list[Any], tmp_path: Path) -> None:
    """`accepts_loss_kwargs` is off: with it, `Trainer` would take the mean loss of a part of a batch for a sum."""
    logged = []
    for number, (batch_size, steps) in enumerate([(4, 1), (1, 4)]):
        options = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps, "max_steps": 1}
        trainer = make_trainer(load(tiny_folder), tmp_path / str(number), examples, **options, save_strategy="no")
        trainer.train()
        logged.append(next(entry for entry in trainer.state.log_history if "grad_norm" in entry))
    assert logged[1]["loss"] == pytest.approx(logged[0]["loss"], rel=1e-4)
    assert logged[1]["grad_norm"] == pytest.approx(logged[0]["grad_norm"], rel=1e-3)
    assert not CatSegForSemanticSegmentation.accepts_loss_kwargs


@pytest.mark.parametrize("wrap", [lambda logits: logits, lambda logits: (logits, "hidden states")])
def test_logits_are_reduced_to_the_best_class(wrap: Callable[[torch.Tensor], Any]) -> None:
    logits = random_images(2, 300, 8, 6).to(torch.bfloat16)
    labels = torch.zeros(2, 19, 23, dtype=torch.long)
    expected = F.interpolate(logits.float(), size=(19, 23), mode="bilinear", align_corners=False).argmax(dim=1)
    result = preprocess_logits_for_metrics(wrap(logits), labels)
    assert result.dtype == torch.int16 and torch.equal(result.long(), expected)


@pytest.mark.parametrize("bytes_in_memory", [100_000, 6_600_000])
def test_offloaded_to_disk_it_gives_the_same(
    bytes_in_memory: int, tiny_folder: Path, examples: list[Any], tmp_path: Path
) -> None:
    whole = load(tiny_folder).eval()
    processor = CatSegProcessor.from_pretrained(tiny_folder)
    inputs = processor(images=np.zeros((40, 60, 3), dtype=np.uint8), text=["cat", ["grass", "lawn"]])
    options = {"max_memory": {"cpu": bytes_in_memory}, "offload_folder": tmp_path / "weights"}
    offloaded = load(tiny_folder, device_map="auto", **options)
    expected = {"disk"} if bytes_in_memory < 6_000_000 else {"cpu", "disk"}  # the token embeddings take six millions
    assert set(offloaded.hf_device_map.values()) == expected
    with torch.no_grad():
        for given in (inputs, {"pixel_values": examples[0]["pixel_values"][None]}):
            for _ in range(2):
                assert torch.equal(offloaded(**given).logits, whole(**given).logits)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attempting to save a model with offloaded modules")
        offloaded.save_pretrained(tmp_path / "saved")
    saved = load(tmp_path / "saved").state_dict()
    assert all(torch.equal(saved[name], value) for name, value in whole.state_dict().items())


def test_nothing_of_text_generation(tiny_folder: Path, tmp_path: Path) -> None:
    model = load(tiny_folder)
    assert not model.can_generate() and not hasattr(model, "generate")
    assert getattr(model, "generation_config", None) is None
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()
