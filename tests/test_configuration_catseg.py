# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
from dataclasses import fields
from pathlib import Path

import pytest
from tiny_models import tiny_backbone_config, tiny_config

from catseg_hf.configuration_catseg import CatSegConfig, vocabulary_digest


def test_released_models() -> None:
    base, large = CatSegConfig.vit_base(), CatSegConfig.vit_large()
    assert (base.image_size, base.patch_size, list(base.guidance_layers)) == (384, 16, [3, 7])
    assert (large.image_size, large.patch_size, list(large.guidance_layers)) == (336, 14, [7, 15])
    assert large.clip_config.vision_config.num_hidden_layers == 24
    assert CatSegConfig.vit_large(class_attention="softmax").class_attention == "softmax"


@pytest.mark.parametrize("backbone", [None, "resnet", "swin"])
def test_saved_configuration_is_equal(backbone: str | None, tmp_path: Path) -> None:
    config = tiny_config(id2label={0: "cat", 1: "grass"}, semantic_loss="cross_entropy")
    if backbone is not None:
        config = tiny_config(
            backbone_config=tiny_backbone_config(backbone), guidance_layers=None, guidance_layer_channels=None
        )
    config.save_pretrained(tmp_path)
    loaded = CatSegConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.label2id == config.label2id


def test_every_field_is_documented() -> None:
    own = {field.name for field in fields(CatSegConfig)} - {field.name for field in fields(CatSegConfig.__mro__[1])}
    undocumented = [name for name in own if f"\n        {name} (`" not in CatSegConfig.__doc__]
    assert undocumented == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"guidance_layers": [0, 2]}, "between 0 and 1"),
        ({"guidance_layers": None}, "are needed"),
        ({"guidance_layers": [0]}, "two entries"),
        ({"backbone_config": tiny_backbone_config("swin")}, "leave both out"),
        ({"image_size": 60}, "not a multiple of CLIP's patch size 8: use 56 or 64"),
        ({"stem_channels": [8, 8]}, "with a convolution for each halving"),
        ({"stem_channels": [8, 12, 16]}, "multiples of 8"),
        ({"decoder_hidden_sizes": [24, 16]}, "multiples of 16"),
        ({"decoder_hidden_sizes": [32]}, "two positive integers"),
        ({"decoder_guidance_sizes": [4, 32]}, "must be smaller"),
        ({"train_pooling_size": [0, 1]}, "two positive integers"),
        ({"num_attention_heads": 3}, "multiple of `num_attention_heads"),
        ({"num_hidden_layers": 0}, "at least 1"),
        ({"class_padding_length": -1}, "0 or more"),
        ({"class_chunk_size": 0}, "at least 1"),
        ({"early_rejection": -0.1}, "at least 0"),
        ({"decoder_dropout": 1.0}, r"in \[0, 1\)"),
        ({"prompt_templates": []}, "is empty"),
        ({"prompt_templates": ["a photo"]}, "exactly once"),
        ({"synonyms": "median"}, "synonyms"),
        ({"hidden_size": "16"}, "expected int"),
        ({"image_size": -8}, "must be positive"),
        ({"appearance_guidance_size": -1}, "`appearance_guidance_size` must be 0 or more"),
        ({"guidance_layer_channels": [8, 0]}, "two positive integers"),
        ({"vocabulary_shape": [3, 1, 0]}, "`vocabulary_shape` must be positive integers"),
        ({"vocabulary_shape": [3, 1]}, "three or four integers"),
    ],
)
def test_impossible_configurations_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(Exception, match=message):
        tiny_config(**wrong)


@pytest.mark.parametrize(
    ("tower", "field", "value", "message"),
    [
        (
            "text_config",
            "hidden_size",
            0,
            "`hidden_size` in `clip_config.text_config` must be a positive integer, got 0",
        ),
        ("text_config", "vocab_size", -51, "`vocab_size`"),
        ("vision_config", "num_hidden_layers", -1, "`num_hidden_layers`"),
        ("vision_config", "num_attention_heads", 5, "not a multiple of the number of attention heads"),
        ("vision_config", "layer_norm_eps", -1e-5, "`layer_norm_eps`"),
        ("vision_config", "patch_size", 0, "must be positive"),
        ("text_config", "eos_token_id", None, "`eos_token_id`"),
        ("text_config", "output_hidden_states", "seven", "`output_hidden_states`"),
    ],
)
def test_impossible_clips_are_refused(tower: str, field: str, value: object, message: str) -> None:
    clip_config = tiny_config().clip_config.to_dict()
    clip_config[tower][field] = value
    with pytest.raises(Exception, match=message):
        tiny_config(clip_config=clip_config)


def test_backbone_needs_three_outputs() -> None:
    backbone = tiny_backbone_config("resnet")
    backbone.out_features = ["stage1", "stage2"]
    with pytest.raises(Exception, match="three `out_features`"):
        tiny_config(backbone_config=backbone, guidance_layers=None, guidance_layer_channels=None)


def test_digest_depends_on_names_order_and_templates() -> None:
    digests = {
        vocabulary_digest(names, templates)
        for names in (["cat", "grass"], ["grass", "cat"], ["cat, grass"])
        for templates in (["a {}"], ["a {}", "the {}"])
    }
    assert len(digests) == 6
