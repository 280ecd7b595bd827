# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""OpenCLIP's weights become Transformers' `CLIPModel`."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from catseg_hf.conversion import ConversionError, convert_open_clip_state_dict, find_open_clip, load_open_clip
from catseg_hf.conversion.open_clip import resize_positions
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation


PREFIX = "sem_seg_head.predictor.clip_model."
# The CLIP of this golden model is OpenCLIP's, with heads of 20 channels and an MLP of 4.9231 times the width.
WEIGHTS = Path(__file__).parents[1] / "fixtures" / "golden" / "v1" / "weights_o.safetensors"
MODEL_CONFIG = {"embed_dim": 24, "vision_cfg": {"head_width": 20}, "text_cfg": {"heads": 4}}


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(PREFIX): tensor.float() for key, tensor in load_file(WEIGHTS).items() if key.startswith(PREFIX)
    }


def reference_text_features(tensors: dict[str, torch.Tensor], input_ids: torch.Tensor, heads: int) -> torch.Tensor:
    """OpenCLIP's text tower, written down again from its definition."""
    length = input_ids.shape[1]
    x = tensors["token_embedding.weight"][input_ids] + tensors["positional_embedding"][:length]
    mask = torch.full((length, length), -torch.inf).triu(1)
    width = x.shape[-1]
    for layer in range(2):
        block = {
            key.removeprefix(f"transformer.resblocks.{layer}."): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"transformer.resblocks.{layer}.")
        }
        y = F.layer_norm(x, (width,), block["ln_1.weight"], block["ln_1.bias"])
        y = F.linear(y, block["attn.in_proj_weight"], block["attn.in_proj_bias"])
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in y.chunk(3, dim=-1))
        y = ((q @ k.mT) / q.shape[-1] ** 0.5 + mask).softmax(-1) @ v
        x = x + F.linear(y.transpose(1, 2).flatten(2), block["attn.out_proj.weight"], block["attn.out_proj.bias"])
        y = F.layer_norm(x, (width,), block["ln_2.weight"], block["ln_2.bias"])
        y = F.gelu(F.linear(y, block["mlp.c_fc.weight"], block["mlp.c_fc.bias"]))
        x = x + F.linear(y, block["mlp.c_proj.weight"], block["mlp.c_proj.bias"])
    x = F.layer_norm(x, (width,), tensors["ln_final.weight"], tensors["ln_final.bias"])
    return x[torch.arange(len(x)), input_ids.argmax(dim=-1)] @ tensors["text_projection"]


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_model.safetensors"])
def test_a_folder_loads_with_the_same_text_features(
    name: str, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / name
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL_CONFIG}))
    assert find_open_clip(tmp_path) == path
    clip = load_open_clip(tmp_path).eval()
    assert clip.config.vision_config.num_attention_heads == 3
    assert clip.config.vision_config.hidden_act == "gelu"
    input_ids = torch.tensor([[298, 5, 17, 299], [298, 8, 299, 0]])
    with torch.no_grad():
        hidden_states = clip.text_model(input_ids=input_ids).last_hidden_state
        features = clip.text_projection(hidden_states[torch.arange(2), input_ids.argmax(dim=-1)])
    torch.testing.assert_close(features, reference_text_features(tensors, input_ids, heads=4), atol=1e-5, rtol=1e-5)


def test_a_new_model_starts_from_a_folder(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL_CONFIG}))
    model = CatSegForSemanticSegmentation.from_clip_pretrained(tmp_path)
    assert model.config.image_size == 336
    assert torch.equal(model.model.clip.text_projection.weight, tensors["text_projection"].T)
    weights = model.model.clip.vision_model.encoder.layers[1].self_attn.k_proj.weight
    assert torch.equal(weights, tensors["visual.transformer.resblocks.1.attn.in_proj_weight"][60:120])


def test_positions_are_resized_once(tensors: dict[str, torch.Tensor]) -> None:
    config, state = convert_open_clip_state_dict(tensors, MODEL_CONFIG, image_size=224)
    assert config.vision_config.image_size == 224
    positions = state["vision_model.embeddings.position_embedding.weight"]
    assert positions.shape == (257, 60)
    assert torch.equal(positions[0], tensors["visual.positional_embedding"][0])
    config, state = convert_open_clip_state_dict(tensors, MODEL_CONFIG, image_size=336)
    assert torch.equal(
        state["vision_model.embeddings.position_embedding.weight"], tensors["visual.positional_embedding"]
    )


def test_positions_keep_rows_and_columns_apart() -> None:
    rows = torch.arange(16.0).view(16, 1).expand(16, 16)
    positions = torch.stack([rows.flatten(), rows.T.flatten()], dim=1)
    resized = resize_positions(torch.cat([torch.zeros(1, 2), positions]), 24)[1:].view(24, 24, 2)
    assert (resized[:, :, 0].diff(dim=0) > 0).all()
    torch.testing.assert_close(resized[:, :, 0], resized[:, :, 1].T)


def test_without_a_configuration_heads_follow_from_the_width() -> None:
    from catseg_hf.conversion.clip import clip_config
    from catseg_hf.conversion.shapes import Shapes

    keys = json.loads((Path(__file__).parents[1] / "fixtures" / "keys" / "v1_swinb_vitg.json").read_text())
    config = clip_config(Shapes(keys), PREFIX)
    assert (config.vision_config.num_attention_heads, config.text_config.num_attention_heads) == (16, 20)
    assert config.vision_config.intermediate_size == 8192
    assert config.vision_config.hidden_act == "gelu"


def test_wrong_weights_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="has none of"):
        load_open_clip(tmp_path)
    with pytest.raises(ConversionError, match=r"lacks 1 tensors.*ln_final\.bias"):
        convert_open_clip_state_dict({key: value for key, value in tensors.items() if key != "ln_final.bias"})
    with pytest.raises(ConversionError, match="no place"):
        convert_open_clip_state_dict({**tensors, "visual.extra": torch.zeros(1)}, MODEL_CONFIG)
    (tmp_path / "open_clip_pytorch_model.bin").write_text("<html>")
    with pytest.raises(ConversionError, match="web page"):
        load_open_clip(tmp_path)
