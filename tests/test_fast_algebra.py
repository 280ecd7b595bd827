# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model's algebra equals the plain definitions: values and gradients, in float64, with random padding tokens."""

from collections.abc import Callable
from functools import partial
from typing import Any

import plain_definitions
import pytest
import torch
from tiny_models import random_images, tiny_model
from torch import nn

from catseg_hf import modeling_catseg
from catseg_hf.modeling_catseg import CatSegGELU, CatSegHead, CatSegLinear, CatSegQuickGELU, attention_windows


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


def test_gelu() -> None:
    activation, values = CatSegGELU(), 4 * random_images(3, 5, 7).double()
    assert_same(activation, activation, nn.GELU(), values)
    result = values.clone()
    with torch.no_grad():
        assert activation(result) is result
    torch.testing.assert_close(result, nn.GELU()(values), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_catseg, "CPU_CONVOLVED_POSITIONS", 1)
    for library in (torch.backends.mkl, torch.backends.mkldnn):  # not every build has them
        monkeypatch.setattr(library, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.functional, "linear", None)  # not called by the layer
    layer = CatSegLinear(6, 9, bias=bias).double()
    values = random_images(*shape).double()

    def plain(inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ layer.weight.T + (layer.bias if bias else 0)

    assert_same(layer, layer, plain, values)
    # Inputs that do not lie in memory as they are counted.
    turned = values.flip(-1).transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(layer(turned), plain(turned))


def test_linear_layers_as_convolutions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().double().eval()
    assert not [name for name, module in model.model.clip.named_modules() if type(module) is nn.Linear]
    inputs = {"pixel_values": random_images(2, 2, 3, 64, 64).double(), "input_ids": model.model.vocabulary.input_ids}
    logits = []
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, "is_available", lambda: True)
    for positions in (1, 10**9):
        monkeypatch.setattr(modeling_catseg, "CPU_CONVOLVED_POSITIONS", positions)
        model.clear_text_cache()
        with torch.no_grad():
            logits.append(model(**inputs).logits)
    torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-9)


def test_linear_leaves_weights_of_other_kinds_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as quantised ones, which know how to multiply by a matrix but not how to be a convolution."""

    class OtherWeight(torch.Tensor):
        calls = []

        @classmethod
        def __torch_function__(
            cls, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
        ) -> Any:
            cls.calls.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    monkeypatch.setattr(modeling_catseg, "CPU_CONVOLVED_POSITIONS", 1)
    layer = CatSegLinear(6, 9)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(OtherWeight))
    OtherWeight.calls.clear()
    assert layer(random_images(2, 6)).shape == (2, 9)
    assert nn.functional.linear in OtherWeight.calls
    assert nn.functional.conv2d not in OtherWeight.calls


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (4, 4), (12, 8)])
@pytest.mark.parametrize("shifted", [False, True])
def test_spatial_block(size: tuple[int, int], shifted: bool) -> None:
    model = tiny_model().double()
    block = model.model.aggregator.layers[0].spatial_blocks[int(shifted)]
    hidden_states = random_images(2, 3, *size, 16).double()
    guidance = random_images(2, *size, 8, seed=1).double()
    assert_same(
        block,
        lambda maps, guide: block(maps, *block.prepare(guide))[0],
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
        before = block(maps.clone(), *block.prepare(guidance))[0]
        maps[:, :, :2, :2] += 1
        after = block(maps.clone(), *block.prepare(guidance))[0]
    changed = (before != after).any(dim=-1)[0, 0]
    assert changed[:2, :2].all() and changed.sum() == 4


@pytest.mark.parametrize("size", [(5, 7), (9, 4), (3, 3), (24, 24)])
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_windows_hold_each_position_once(size: tuple[int, int], shifted: bool) -> None:
    windows = attention_windows(*size, 4, shifted=shifted, device=torch.device("cpu"))
    positions = torch.arange(size[0] * size[1])
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
    with torch.no_grad():  # where the maps are changed in place
        expected = plain_definitions.class_block(block, maps, guidance)
        torch.testing.assert_close(block(maps, guidance, chunk_size), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(maps, expected, rtol=1e-9, atol=1e-9)


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


def test_head() -> None:
    head = CatSegHead(6).double()
    maps = random_images(2, 7, 5, 6).double()
    plain = partial(nn.functional.conv2d, weight=head.weight, bias=head.bias, padding=1)
    assert_same(head, lambda maps: head(maps.permute(0, 3, 1, 2)), lambda maps: plain(maps.permute(0, 3, 1, 2)), maps)


@pytest.mark.parametrize("how", ["bfloat16 weights", "autocast"])
def test_head_rounds_once_in_half_precision(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.functional, "fold", None)  # adds up what was rounded before
    head, maps = CatSegHead(6), random_images(2, 6, 7, 5)
    if how == "bfloat16 weights":
        head, maps = head.bfloat16(), maps.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        assert head(maps).dtype == torch.bfloat16


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
