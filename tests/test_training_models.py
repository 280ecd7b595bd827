# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.

from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoBackbone, CLIPConfig, CLIPModel

from catseg_hf import CatSegForSemanticSegmentation
from catseg_hf.training import (
    Recipe,
    add_lora,
    freeze_text,
    make_shardable,
    merged_state_dict,
    parameter_groups,
    set_classes,
    start_model,
    text_inputs,
)
from tests.small_evaluations import NAMES, save_small_model
from tests.tiny_models import random_images, tiny_backbone_config, tiny_config, tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    return save_small_model(tmp_path_factory.mktemp("small") / "model", tiny_model_folder)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CLIPConfig(**{**tiny_config().clip_config.to_dict()})
    config.text_config.vocab_size = 49408
    config.text_config.max_position_embeddings = 77
    config.text_config.eos_token_id = 49407
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    return folder


def trainable(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_start_from_a_trained_model(model_folder: Path) -> None:
    model, processor = start_model(model_folder)
    expected = CatSegForSemanticSegmentation.from_pretrained(model_folder).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert model.dtype == torch.float32 and processor.image_processor.image_size == 64
    with pytest.raises(ValueError, match="is complete"):
        start_model(model_folder, kind="v1", backbone="somewhere")


def test_a_half_precision_model_is_trained_in_float32(model_folder: Path, tmp_path: Path) -> None:
    CatSegForSemanticSegmentation.from_pretrained(model_folder).half().save_pretrained(tmp_path)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model_folder / name).read_bytes())
    assert start_model(tmp_path)[0].dtype == torch.float32


@pytest.mark.parametrize(("kind", "backbone"), [("cvpr", None), ("v1", "resnet"), ("v1", "swin"), ("mmseg", "swin")])
def test_start_from_clip(clip_folder: Path, tmp_path: Path, kind: str, backbone: str | None) -> None:
    if backbone is not None:
        source = AutoBackbone.from_config(tiny_backbone_config(backbone))
        source.save_pretrained(tmp_path)
    model, processor = start_model(clip_folder, kind=kind, backbone=tmp_path if backbone else None)
    clip = CLIPModel.from_pretrained(clip_folder).state_dict()
    assert all(torch.equal(value, clip[name]) for name, value in model.model.clip.state_dict().items())
    config = model.config
    assert len(config.prompt_templates) == len(processor.prompt_templates) == (1 if kind == "cvpr" else 80)
    assert config.semantic_loss == ("cross_entropy" if kind == "mmseg" else "bce")
    assert processor.image_processor.image_size == config.image_size
    if backbone is not None:
        weights = source.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in model.model.backbone.state_dict().items())
        is_trained = any("backbone" in name for name in trainable(model))
        assert is_trained == (kind == "mmseg" or backbone == "resnet")
        assert config.freeze_batch_norm == (kind == "v1" and backbone == "resnet")
        assert processor.image_processor.backbone_size == 384


def test_a_backbone_is_demanded_or_refused(clip_folder: Path) -> None:
    with pytest.raises(ValueError, match="'mmseg'.*needs an appearance `backbone`"):
        start_model(clip_folder, kind="mmseg")
    with pytest.raises(ValueError, match="'cvpr'.*needs no `backbone`"):
        start_model(clip_folder, backbone="resnet")
    with pytest.raises(ValueError, match="`kind`.*'v2'"):
        start_model(clip_folder, kind="v2")


def test_classes(model_folder: Path) -> None:
    model, processor = start_model(model_folder)
    assert set_classes(model, processor, NAMES) == 255
    assert list(model.config.id2label.values()) == ["wall", "sky", "tree, shrub", "traffic light", "dog"]
    with torch.no_grad():
        assert model(random_images(1, 3, 64, 64)).logits.shape[1] == 5
    # With 256 classes, 255 is one of them.
    assert set_classes(model, processor, [f"number {index}" for index in range(256)]) == 65535
    assert model.config.semantic_loss_ignore_index == processor.image_processor.ignore_index == 65535


def test_text_embeddings_are_computed_once_where_the_text_tower_is_frozen(model_folder: Path) -> None:
    model, processor = start_model(model_folder)
    set_classes(model, processor, NAMES)
    images = random_images(1, 3, 64, 64)
    assert set(text_inputs(model)) == {"input_ids"}
    with torch.no_grad():
        expected = model(images).logits
    before = trainable(model)
    freeze_text(model)
    assert {name.split(".")[2] for name in before - trainable(model)} == {"text_model"}
    text = text_inputs(model.train())
    assert set(text) == {"text_embeds"} and not text["text_embeds"].requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images, **text).logits, expected, atol=1e-5, rtol=0)
    model.config.clip_training = "vision_attention"
    model.freeze_parameters()
    assert set(text_inputs(model)) == {"text_embeds"}


def test_a_sharded_model_has_the_same_gradients(tmp_path: Path) -> None:
    images, labels = random_images(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    plain, sharded = tiny_model().train(), tiny_model().train()
    plain(images, labels=labels).loss.backward()
    make_shardable(sharded)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in merged_state_dict(sharded).items())
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
        sharded(images, labels=labels).loss.backward()
        for (name, parameter), expected in zip(sharded.named_parameters(), plain.parameters(), strict=True):
            if expected.grad is not None:
                gradient = parameter.grad.full_tensor()
                torch.testing.assert_close(gradient, expected.grad, msg=name)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("with_text", [True, False])
def test_lora_trains_updates_of_attention_and_is_merged(with_text: bool) -> None:
    pytest.importorskip("peft")
    model = tiny_model()
    names = set(model.state_dict())
    images = random_images(2, 3, 64, 64)
    if not with_text:
        freeze_text(model)
    rest = {name for name in trainable(model) if ".clip." not in name}
    expected = model(images).logits
    add_lora(model, rank=3, alpha=6)
    torch.testing.assert_close(model(images).logits, expected, atol=0, rtol=0)  # updates are zero at first

    added = trainable(model) - rest
    assert all(".lora_" in name for name in added)
    # Three vision layers of four projections, without the last query and key; two text layers.
    assert len(added) == 2 * (3 * 4 - 2 + (2 * 4 if with_text else 0))
    groups = parameter_groups(model, Recipe())
    assert {group["lr"] for group in groups} == {2e-4}
    model.train()(
        images, labels=torch.randint(0, 2, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    ).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in added:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        changed = model.eval()(images).logits
    merged = merged_state_dict(model)
    assert set(merged) == names
    plain = tiny_model()
    plain.load_state_dict(merged)
    with torch.no_grad():
        torch.testing.assert_close(plain(images).logits, changed, atol=1e-5, rtol=0)
    assert (changed - expected).abs().max() > 1e-3
