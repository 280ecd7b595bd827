# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model's algebra equals the plain definitions: values and gradients, in float64, with random padding tokens."""

from collections.abc import Callable

import plain_definitions
import pytest
import torch
import torch.nn.functional as F
from tiny_models import random_images, tiny_model
from torch import nn

from catseg_hf.layers_catseg import CatSegGroupNorm, CatSegQuickGELU
from catseg_hf.spatial_attention_catseg import CatSegSpatialBlock, attention_windows


def assert_same(
    module: nn.Module, fast: Callable[..., torch.Tensor], plain: Callable[..., torch.Tensor], *inputs: torch.Tensor
) -> None:
    """Equal outputs, and equal gradients of a random weighting of them with respect to all inputs and weights."""
    results = []
    for function in (fast, plain):
        arguments = [tensor.clone().requires_grad_(True) for tensor in inputs]
        output = function(*arguments)
        weighting = random_images(*output.shape, seed=9).double()
        weights = [parameter.requires_grad_(True) for parameter in module.parameters()]
        gradients = torch.autograd.grad((output * weighting).sum(), [*arguments, *weights], allow_unused=True)
        results.append([output, *gradients])
    for ours, expected in zip(*results, strict=True):
        assert (ours is None) == (expected is None)
        if ours is not None:
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_quick_gelu() -> None:
    activation, values = CatSegQuickGELU(), 4 * random_images(3, 5, 7).double()
    assert_same(activation, activation, plain_definitions.quick_gelu, values)
    before = values.clone()
    with torch.no_grad():
        torch.testing.assert_close(activation(values), plain_definitions.quick_gelu(before), rtol=1e-9, atol=1e-9)
    assert torch.equal(values, before)


def run_spatial_block(block: CatSegSpatialBlock, maps: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    windows = block.windows(torch.arange(maps[0, 0, ..., 0].numel()).view(maps.shape[2:4]))
    return block(maps, block.prepare(guidance, windows), windows)[0]


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (4, 4), (12, 8)])
@pytest.mark.parametrize("shifted", [False, True])
def test_spatial_block(size: tuple[int, int], shifted: bool) -> None:
    model = tiny_model().double()
    block = model.model.aggregator.layers[0].spatial_blocks[int(shifted)]
    hidden_states = random_images(2, 3, *size, 16).double()
    guidance = random_images(2, *size, 8, seed=1).double()
    assert_same(
        block,
        lambda maps, guide: run_spatial_block(block, maps, guide),
        lambda maps, guide: plain_definitions.spatial_block(block, maps, guide),
        hidden_states,
        guidance,
    )


def test_masked_windows_stay_apart_for_huge_scores() -> None:
    """The original adds -100 between former neighbours, which huge scores overcome. Rectangles never mix."""
    model = tiny_model().double()
    block = model.model.aggregator.layers[0].spatial_blocks[1]
    with torch.no_grad():
        block.attention.qkv.weight[:32] *= 1e4
        maps, guidance = random_images(1, 1, 8, 8, 16).double(), random_images(1, 8, 8, 8).double()
        before = run_spatial_block(block, maps, guidance)
        maps[:, :, :2, :2] += 1
        after = run_spatial_block(block, maps, guidance)
    changed = (before != after).any(dim=-1)[0, 0]
    assert changed[:2, :2].all() and changed.sum() == 4


@pytest.mark.parametrize("size", [(5, 7), (9, 4), (3, 3), (24, 24)])
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_windows_hold_each_position_once(size: tuple[int, int], shifted: bool) -> None:
    positions = torch.arange(size[0] * size[1])
    windows = attention_windows(positions.view(size), 4, shifted=shifted)
    assert torch.equal(windows.order.sort().values, positions)
    assert torch.equal(windows.order[windows.inverse], positions)
    assert sum(number * length for number, length in windows.groups) == len(positions)


@pytest.mark.parametrize("class_attention", ["linear", "softmax"])
@pytest.mark.parametrize("num_classes", [1, 4, 6, 9])
@pytest.mark.parametrize("chunk_size", [2, 100])
@pytest.mark.parametrize("training", [False, True])
def test_class_block(class_attention: str, num_classes: int, chunk_size: int, training: bool) -> None:
    model = tiny_model(class_attention=class_attention, class_mlp_inner_residual=num_classes == 4).double()
    block = model.model.aggregator.layers[1].class_block.train(training)
    assert block.padding_token.abs().min() > 0
    maps, guidance = random_images(2, num_classes, 5, 6, 16).double(), random_images(2, num_classes, 8, seed=1).double()
    assert_same(
        block,
        lambda maps, guide: block(maps, guide, chunk_size),
        lambda maps, guide: plain_definitions.class_block(block, maps, guide),
        maps,
        guidance,
    )
    with torch.no_grad():  # where results take the place of the maps
        expected = plain_definitions.class_block(block, maps, guidance)
        torch.testing.assert_close(block(maps.clone(), guidance, chunk_size), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)],
)
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (3.0, 1.0), (0.0, 1e-3), (100.0, 400.0)])
def test_group_norm_of_a_gpu(mean: float, deviation: float, dtype: torch.dtype, tolerance: float) -> None:
    norm = CatSegGroupNorm(2, 32).to(dtype)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    maps = (random_images(3, 32, 12, 10).double() * deviation + mean).to(dtype)
    maps = maps.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = F.group_norm(maps.double(), 2, norm.weight.double(), norm.bias.double()).to(dtype)
        result = norm.normalize_in_place(maps)
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)
    assert result.is_contiguous(memory_format=torch.channels_last) and result.data_ptr() == maps.data_ptr()


def test_decoder_of_a_gpu_keeps_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    seen: list[bool] = []

    def norm_of_a_gpu(self: CatSegGroupNorm, maps: torch.Tensor) -> torch.Tensor:
        result = self.normalize_in_place(maps)
        seen.append(result.is_contiguous(memory_format=torch.channels_last))
        return result

    inputs = {"pixel_values": random_images(1, 2, 3, 64, 64), "text_embeds": random_images(5, 1, 24)}
    with torch.no_grad():
        expected = model(**inputs).logits
        monkeypatch.setattr(CatSegGroupNorm, "forward", norm_of_a_gpu)
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=1e-5)
    assert len(seen) >= 4 and all(seen)


@pytest.mark.parametrize("index", [0, 1])
def test_decoder_stage(index: int) -> None:
    model = tiny_model().double()
    stage = model.decoder.stages[index]
    channels = [16, 32][index]
    assert_same(
        stage,
        lambda maps, guide: stage(maps, *stage.upsampling(guide)),
        lambda maps, guide: plain_definitions.decoder_stage(stage, maps, guide),
        random_images(2, 3, 4, 5, channels).double(),
        random_images(2, 4, 8, 10, seed=1).double(),
    )


@pytest.mark.parametrize("class_attention", ["linear", "softmax"])
@pytest.mark.parametrize("num_classes", [5, 9])
def test_chunks_do_not_change_the_result(class_attention: str, num_classes: int) -> None:
    model = tiny_model(class_attention=class_attention).double()
    images = random_images(2, 2, 3, 64, 48).double()
    text_embeds = nn.functional.normalize(random_images(num_classes, 1, 24).double(), dim=-1)
    results = []
    for chunk_size in (1, 2, 4, 1000):
        model.config.class_chunk_size = chunk_size
        with torch.no_grad():
            results.append(model(images, text_embeds=text_embeds).logits)
        results.append(model(images, text_embeds=text_embeds).logits)
    for logits in results[1:]:
        torch.testing.assert_close(logits, results[0], rtol=1e-10, atol=1e-10)


def test_gradients_with_chunks_and_checkpoints_equal_plain_ones() -> None:
    gradients = []
    for chunk_size, checkpointing in ((1000, False), (2, False), (2, True)):
        model = tiny_model(class_chunk_size=chunk_size).double().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        labels = torch.arange(2 * 20 * 20).view(2, 20, 20) % 5
        text_embeds = random_images(5, 1, 24).double()
        loss = model(random_images(2, 3, 64, 64).double(), text_embeds=text_embeds, labels=labels).loss
        loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad})
        gradients[-1]["loss"] = loss.detach()
    for other in gradients[1:]:
        assert other.keys() == gradients[0].keys()
        for name, expected in gradients[0].items():
            if expected is not None:
                torch.testing.assert_close(other[name], expected, rtol=1e-8, atol=1e-12)
