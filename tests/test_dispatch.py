# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the model and the merge ask of a device: few operations, no answer, and nothing from the host.

They run on PyTorch's meta device, which computes nothing: an operation that needs a value fails there, and every other
device gets the same operations.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation, CatSegImageProcessor


# Those that only look at a tensor in another way launch nothing.
VIEWS = {"view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "unsqueeze", "squeeze"}
VIEWS |= {"split", "split_with_sizes", "unbind", "alias", "detach", "as_strided"}
QUESTIONS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item"}
# As many as there are today; fewer is better.
MAX_FORWARD, MAX_MERGE = 400, 150


class Operations(TorchDispatchMode):
    """Counts operations by name, and keeps the devices of copies."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.crossings: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.counts[name] += 1
        if name in ("_to_copy", "copy_"):
            devices = {tensor.device for tensor in (*args, result) if isinstance(tensor, torch.Tensor)}
            if len(devices) > 1:
                self.crossings.append(f"{name}: {devices}")
        return result


@pytest.fixture(scope="module")
def view_inputs() -> dict[str, torch.Tensor]:
    """Where the views of a photo of 1024 x 768 lie."""
    inputs = CatSegImageProcessor()(torch.zeros(3, 768, 1024), return_tensors="pt")
    return {name: inputs[name] for name in ("view_boxes", "resized_sizes")}


def test_forward_asks_nothing_and_launches_little(
    view_inputs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One operation on every device but this one, which has no kernel for it.
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda query, *args, **kwargs: torch.empty_like(query)
    )
    with torch.device("meta"):
        model = CatSegForSemanticSegmentation(CatSegConfig.vit_base(class_chunk_size=1000)).eval()
        pixel_values, text_embeds = torch.empty(1, 5, 3, 384, 384), torch.empty(5, 1, 512)
    with torch.no_grad(), Operations() as operations:
        logits = model(pixel_values, text_embeds=text_embeds, **view_inputs).logits
    assert logits.shape == (1, 5, 5, 96, 96)
    assert not QUESTIONS & operations.counts.keys() and not operations.crossings
    assert 300 < operations.counts.total() <= MAX_FORWARD, operations.counts


@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
def test_plain_merge_asks_nothing_and_launches_little(
    score_function: str, view_inputs: dict[str, torch.Tensor]
) -> None:
    processor = CatSegImageProcessor(score_function=score_function)
    outputs = {"logits": torch.empty(1, 5, 150, 96, 96, device="meta"), **view_inputs}
    target = [(768, 1024)]
    for merge in (
        processor.post_process_semantic_segmentation,
        processor.post_process_best_classes,
        processor.post_process_class_scores,
    ):
        with Operations() as operations:
            (result,) = merge(outputs, target)
        assert (result[0] if isinstance(result, tuple) else result).shape[-2:] == target[0]
        assert not QUESTIONS & operations.counts.keys() and not operations.crossings
        assert 30 < operations.counts.total() <= MAX_MERGE, operations.counts


def test_a_threshold_asks_nothing(view_inputs: dict[str, torch.Tensor]) -> None:
    outputs = {"logits": torch.empty(1, 5, 7, 96, 96, device="meta"), **view_inputs}
    with Operations() as operations:
        CatSegImageProcessor().post_process_semantic_segmentation(outputs, [(768, 1024)], threshold=0.5)
    assert not QUESTIONS & operations.counts.keys() and not operations.crossings
