# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What is trained, with which learning rate and decay, is what the originals train, under their names."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from catseg_hf import CatSegForSemanticSegmentation
from catseg_hf.conversion import ConversionOptions, plan_conversion
from catseg_hf.training import Recipe, learning_rate_factor, learning_rate_schedule, parameter_groups
from tests.tiny_models import backbone_fields, tiny_config


FIXTURES = Path(__file__).parent / "fixtures"
NAMES = sorted(path.stem for path in (FIXTURES / "trainable").glob("*.json"))
# What the optimizers of the originals take for norms: the modules of these keys.
NORM_KEYS = re.compile(r"\.(norm\d?|ln_\w+|guidance_norm|double_conv\.[14]|gn|bn\d|downsample\.1)\.(weight|bias)$")


def load(kind: str, name: str) -> dict | list:
    return json.loads((FIXTURES / kind / f"{name}.json").read_text(encoding="utf-8"))


def original_rule(code_base: str, key: str) -> tuple[float, float]:
    """Learning rate and weight decay of a tensor, as `train_net.py` and MMSegmentation's configurations have them."""
    if code_base == "mmseg":
        slow = key.startswith(("backbone.feature_extractor", "backbone.clip_model.visual"))
        return (2e-4 * 0.01 if slow else 2e-4), 1e-4
    slow = "clip_model" in key or key.startswith("backbone.")
    exempt = NORM_KEYS.search(key) or "token_embedding" in key or key.endswith("relative_position_bias_table")
    return (2e-4 * 0.01 if slow else 2e-4), (0.0 if exempt else 1e-4)


def settings_by_original_name(
    name: str, **config: object
) -> tuple[str, dict[str, set[tuple[float, float]]], dict[str, list[str]]]:
    """Code base; learning rates and decays of what is trained; our trainable names. Both by original name."""
    plan = plan_conversion(load("keys", name), ConversionOptions())
    for field, value in config.items():
        setattr(plan.config, field, value)
    with torch.device("meta"):
        model = CatSegForSemanticSegmentation(plan.config)
    recipe = {"cvpr": Recipe.cvpr, "v1": Recipe.v1, "mmseg": Recipe.mmseg}[plan.code_base]()
    groups = parameter_groups(model, recipe)
    by_parameter = {
        id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }
    assert len(by_parameter) == sum(parameter.requires_grad for parameter in model.parameters())
    by_name = {key: by_parameter[id(value)] for key, value in model.named_parameters() if id(value) in by_parameter}
    settings: dict[str, set[tuple[float, float]]] = {}
    targets: dict[str, list[str]] = {}
    for move in plan.moves:
        if move.target in by_name:
            settings.setdefault(move.source, set()).add(by_name[move.target])
            targets.setdefault(move.source, []).append(move.target)
    return plan.code_base, settings, targets


@pytest.mark.parametrize("name", NAMES)
def test_trainable_names_learning_rates_and_decay_are_the_originals(name: str) -> None:
    code_base, settings, targets = settings_by_original_name(name)
    trainable = set(load("trainable", name))
    # The query and key of the last vision layer get no gradient: in CVPR 2024 the query is a tensor of its own.
    depth = 1 + max(int(number) for number in re.findall(r"visual\.transformer\.resblocks\.(\d+)", " ".join(trainable)))
    last = f"visual.transformer.resblocks.{depth - 1}.attn."
    missing = trainable - settings.keys()
    assert settings.keys() <= trainable
    assert {key.partition("visual.")[2] for key in missing} <= {(last + "q_proj_weight").partition("visual.")[2]}
    assert len(missing) == (code_base == "cvpr")
    if code_base != "cvpr":
        kept = {target.split(".")[-2] for key in targets if last in key for target in targets[key]}
        assert kept == {"v_proj", "out_proj"}
    assert settings == {key: {original_rule(code_base, key)} for key in settings}


def test_full_training_decays_position_embeddings_but_not_token_embeddings() -> None:
    _, settings, _ = settings_by_original_name("cvpr_vitb16", clip_training="full")
    clip = "sem_seg_head.predictor.clip_model."
    for key in ("visual.positional_embedding", "positional_embedding", "visual.class_embedding"):
        assert settings[clip + key] == {(2e-4 * 0.01, 1e-4)}
    for key in ("token_embedding.weight", "visual.ln_pre.weight", "ln_final.bias"):
        assert settings[clip + key] == {(2e-4 * 0.01, 0.0)}
    assert settings == {key: {original_rule("cvpr", key)} for key in settings}


def test_a_trained_swin_does_not_decay_its_relative_positions() -> None:
    model = CatSegForSemanticSegmentation(tiny_config(**backbone_fields("swin")))
    table = next(value for key, value in model.named_parameters() if key.endswith("relative_position_bias_table"))
    for recipe, decay in ((Recipe.v1(), 0.0), (Recipe.mmseg(), 1e-4)):
        groups = parameter_groups(model, recipe)
        group = next(group for group in groups if any(value is table for value in group["params"]))
        assert (group["lr"], group["weight_decay"]) == (2e-4 * 0.01, decay)


def test_presets() -> None:
    cvpr, mmseg = Recipe.cvpr(), Recipe.mmseg()
    assert (cvpr.steps, cvpr.batch_size, cvpr.max_gradient_norm, cvpr.crop_size) == (80_000, 4, 0.01, 384)
    assert (cvpr.image_padding, cvpr.resize, cvpr.max_class_share) == (128, "shortest_edge", 1.0)
    assert Recipe.v1() == cvpr
    assert (mmseg.max_gradient_norm, mmseg.resize, mmseg.max_class_share) == (None, "random_scale", 0.75)
    assert Recipe.mmseg(resize="none", steps=1000).resize == "none"


def test_learning_rates() -> None:
    cvpr, mmseg = Recipe.cvpr(), Recipe.mmseg()
    expected = {0: 1.0, 20_000: 0.5 + math.sqrt(0.5) / 2, 40_000: 0.5, 80_000: 0.0}
    assert {step: learning_rate_factor(step, cvpr) for step in expected} == pytest.approx(expected)
    # mmengine: LinearLR(start_factor=0.01, begin=0, end=500), then CosineAnnealingLR(T_max=79500, begin=500)
    expected = {0: 0.01, 1: 0.01 + 0.99 / 499, 499: 1.0, 500: 1.0, 500 + 39_750: 0.5, 80_000: 0.0}
    assert {step: learning_rate_factor(step, mmseg) for step in expected} == pytest.approx(expected)

    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 2.0}, {"params": [torch.zeros(1)], "lr": 1.0}])
    schedule = learning_rate_schedule(optimizer, Recipe.cvpr(steps=4))
    rates = []
    for _ in range(4):
        rates.append(schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    factors = [0.5 + 0.5 * math.cos(math.pi * step / 4) for step in range(4)]
    assert rates == [pytest.approx([2 * factor, factor]) for factor in factors]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("crop_size", 100),
        ("clip_multiplier", 0.0),
        ("max_gradient_norm", 0.0),
        ("warmup_steps", 80_000),
        ("resize", "crop"),
    ],
)
def test_impossible_recipes_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"`{field}` .*{value}"):
        Recipe(**{field: value})


def test_a_model_without_anything_to_train_is_refused() -> None:
    model = CatSegForSemanticSegmentation(tiny_config()).requires_grad_(False)
    with pytest.raises(ValueError, match="clip_training"):
        parameter_groups(model, Recipe())
