# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The full-size key inventories of all published families are mapped, and anything else is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from catseg_hf.conversion import ConversionError, ConversionOptions, apply_moves, invert_moves, plan_conversion
from catseg_hf.conversion.cvpr import shifted_window_mask


KEYS = Path(__file__).parents[1] / "fixtures" / "keys"
# Code base, CLIP's heads (vision, text), activation, view size, backbone, templates, pooling, tensors dropped.
FAMILIES = {
    "cvpr_vitb16": ("cvpr", (12, 8), "quick_gelu", 384, None, 1, [1, 1], 2),
    "cvpr_vitl14_336": ("cvpr", (16, 12), "quick_gelu", 336, None, 1, [1, 1], 2),
    "v1_r101_vitb16": ("v1", (12, 8), "quick_gelu", 384, "resnet", 80, [1, 1], 2),
    "v1_swinb_vitl14_336": ("v1", (16, 12), "quick_gelu", 336, "swin", 80, [1, 1], 24),
    "v1_swinb_vith": ("v1", (16, 16), "gelu", 336, "swin", 80, [1, 1], 24),
    "v1_swinb_vitg": ("v1", (16, 20), "gelu", 336, "swin", 80, [1, 1], 24),
    "mmseg_r101_vitb16_ade20k": ("mmseg", (12, 8), "quick_gelu", 384, "resnet", 80, [1, 1], 4),
    "mmseg_swinb_vitl14_336_coco": ("mmseg", (16, 12), "quick_gelu", 336, "swin", 80, [6, 6], 26),
}


def inventory(name: str) -> dict[str, list[int]]:
    return json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))


def test_all_inventories_are_listed() -> None:
    assert {path.stem for path in KEYS.glob("*.json")} == FAMILIES.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_inventory(name: str) -> None:
    code_base, heads, hidden_act, image_size, backbone, num_templates, pooling, num_dropped = FAMILIES[name]
    shapes = inventory(name)
    plan = plan_conversion(shapes, ConversionOptions())
    config = plan.config
    vision, text = config.clip_config.vision_config, config.clip_config.text_config
    assert plan.code_base == code_base
    assert (vision.num_attention_heads, text.num_attention_heads) == heads
    assert vision.hidden_act == text.hidden_act == hidden_act
    assert (text.bos_token_id, text.eos_token_id) == (49406, 49407)
    assert config.image_size == image_size
    assert (None if config.backbone_config is None else config.backbone_config.model_type) == backbone
    assert len(config.prompt_templates) == num_templates
    assert list(config.inference_pooling_size) == pooling
    assert config.window_size == 12
    assert len(plan.dropped) == num_dropped
    # Every key is used or dropped by name, and every one of our tensors is filled or added by name.
    assert {move.source for move in plan.moves} | plan.dropped.keys() == shapes.keys()
    assert {move.target for move in plan.moves} | plan.added.keys() == plan.shapes.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_mapping_is_a_bijection(name: str) -> None:
    plan = plan_conversion(inventory(name), ConversionOptions())
    meta = {key: torch.empty(plan.shapes[key], device="meta") for key in {move.target for move in plan.moves}}
    restored = {key: list(tensor.shape) for key, tensor in invert_moves(plan.moves, meta).items()}
    assert restored == {key: shape for key, shape in inventory(name).items() if key not in plan.dropped}
    sources = {key: torch.empty(shape, device="meta") for key, shape in restored.items()}
    converted = {key: tuple(tensor.shape) for key, tensor in apply_moves(plan.moves, sources).items()}
    assert converted == {key: plan.shapes[key] for key in meta}


def remove(key: str) -> Callable[[dict], None]:
    return lambda shapes: shapes.pop(key)


def put(key: str, shape: list[int]) -> Callable[[dict], None]:
    return lambda shapes: shapes.update({key: shape})


CLIP = "sem_seg_head.predictor.clip_model."
AGGREGATOR = "sem_seg_head.predictor.transformer."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove(f"{CLIP}visual.transformer.resblocks.5.ln_1.weight"), r"lacks 1 tensors.*resblocks\.5\.ln_1\.weight"),
        (remove(f"{CLIP}visual.conv1.weight"), r"no tensor .*visual\.conv1\.weight"),
        (remove(f"{AGGREGATOR}decoder1.up.bias"), r"lacks 1 tensors.*decoder1\.up\.bias"),
        (remove("upsample2.bias"), r"lacks 1 tensors.*upsample2\.bias"),
        (put("extra.weight", [3]), r"no place.*extra\.weight"),
        (put(f"{AGGREGATOR}layers.7.norm.weight", [3]), "lacks"),
        (put(f"{AGGREGATOR}head.weight", [1, 32, 1, 1]), r"head\.weight.*\[1, 32, 1, 1\].*\[1, 32, 3, 3\]"),
        (put(f"{AGGREGATOR}head.weight", [288]), r"head\.weight"),
        (put(f"{AGGREGATOR}layers.1.attention.attention.k.weight", [128, 255]), r"attention\.k\.weight.*\[128, 256\]"),
        (put(f"{CLIP}transformer.resblocks.3.attn.in_proj_bias", [1537]), r"in_proj_bias.*\[1537\].*\[1536\]"),
        (put(f"{AGGREGATOR}conv1.weight", [0, 1, 7, 7]), "non-empty"),
        (put(f"{AGGREGATOR}conv1.weight", [128, 2, 7, 7]), r"conv1\.weight.*\[128, 1, 7, 7\]"),
        (put(f"{CLIP}visual.positional_embedding", [200, 768]), r"positional_embedding.*\[200, 768\].*\[197, 768\]"),
    ],
)
def test_wrong_keys_and_shapes_are_refused(change: Callable[[dict], None], message: str) -> None:
    shapes = inventory("cvpr_vitb16")
    change(shapes)
    with pytest.raises(ConversionError, match=message):
        plan_conversion(shapes, ConversionOptions())


def test_unknown_checkpoints_are_refused() -> None:
    with pytest.raises(ConversionError, match="no CAT-Seg checkpoint of a known code base"):
        plan_conversion({"fc.weight": [1000, 2048]}, ConversionOptions())


def test_options_replace_what_shapes_do_not_tell() -> None:
    options = ConversionOptions(guidance_layers=(2, 5), class_padding_length=100, class_attention="softmax")
    config = plan_conversion(inventory("cvpr_vitb16"), options).config
    assert list(config.guidance_layers) == [2, 5]
    assert config.class_padding_length == 100
    assert config.class_attention == "softmax"
    with pytest.raises(ConversionError, match="guidance_layers"):
        plan_conversion(inventory("cvpr_vitb16"), ConversionOptions(guidance_layers=(3, 30)))


def test_window_without_a_mask_is_an_option() -> None:
    shapes = {key: shape for key, shape in inventory("cvpr_vitb16").items() if not key.endswith("attn_mask")}
    assert plan_conversion(shapes, ConversionOptions()).config.window_size == 12
    assert plan_conversion(shapes, ConversionOptions(window_size=24)).config.window_size == 24


def test_shifted_window_mask() -> None:
    mask = shifted_window_mask(4, 2)
    assert mask.shape == (4, 4, 4)
    # After a shift by one, the first window holds true neighbours; the last one four corners of the image.
    assert torch.equal(mask[0], torch.zeros(4, 4))
    assert torch.equal(mask[3], torch.where(torch.eye(4, dtype=torch.bool), 0.0, -100.0))
