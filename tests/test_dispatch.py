# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the model and the merge ask of a device: few operations, no answer, and nothing from the host.

They run on PyTorch's meta device, which computes nothing: an operation that needs a value fails there, and every other
device gets the same operations.
"""

import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation, CatSegImageProcessor


# Those that only look at a tensor in another way launch nothing.
VIEWS = {"view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "unsqueeze", "squeeze"}
VIEWS |= {"split", "split_with_sizes", "unbind", "alias", "detach", "as_strided"}
QUESTIONS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item"}
# As many as there are today; fewer is better.
MAX_FORWARD, MAX_MERGE = 400, 150


class Operations(TorchDispatchMode):
    """Counts operations by name, keeps the devices of copies, and adds up what the results take of memory.

    `written` has the bytes of all results by type, `peak` the bytes of all that existed at the same time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.crossings: list[str] = []
        self.written: Counter[torch.dtype] = Counter()
        self.present: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and name not in VIEWS:
                self.written[tensor.dtype] += tensor.nbytes
                self.keep(tensor.untyped_storage())
        if name not in VIEWS:
            self.counts[name] += 1
        if name in ("_to_copy", "copy_"):
            devices = {tensor.device for tensor in (*args, result) if isinstance(tensor, torch.Tensor)}
            if len(devices) > 1:
                self.crossings.append(f"{name}: {devices}")
        return result

    def keep(self, storage: torch.UntypedStorage) -> None:
        """Counts memory as long as it exists."""
        key = storage._cdata
        if key not in self.present:
            self.present[key] = storage.nbytes()
            weakref.finalize(storage, self.present.pop, key)
            self.peak = max(self.peak, sum(self.present.values()))


@pytest.fixture(scope="module")
def view_inputs() -> dict[str, torch.Tensor]:
    """Where the views of a photo of 1024 x 768 lie."""
    inputs = CatSegImageProcessor()(torch.zeros(3, 768, 1024), return_tensors="pt")
    return {name: inputs[name] for name in ("view_boxes", "resized_sizes")}


@pytest.fixture(scope="module")
def model() -> CatSegForSemanticSegmentation:
    """ViT-B/16."""
    with torch.device("meta"):
        return CatSegForSemanticSegmentation(CatSegConfig.vit_base()).eval()


def forward_operations(
    model: CatSegForSemanticSegmentation, num_images: int, num_classes: int, **kwargs: Any
) -> Operations:
    """What the model does with five views of each image."""
    pixel_values = torch.empty(num_images, 5, 3, 384, 384, device="meta", dtype=model.dtype)
    text_embeds = torch.empty(num_classes, 1, 512, device="meta", dtype=model.dtype)
    with pytest.MonkeyPatch.context() as monkeypatch, torch.no_grad(), Operations() as operations:
        # One operation on every device but this one, which has no kernel for it.
        monkeypatch.setattr(
            torch.nn.functional, "scaled_dot_product_attention", lambda query, *args, **kwargs: torch.empty_like(query)
        )
        logits = model(pixel_values, text_embeds=text_embeds, **kwargs).logits
    assert logits.shape == (num_images, 5, num_classes, 96, 96)
    return operations


def test_forward_asks_nothing_and_launches_little(
    model: CatSegForSemanticSegmentation, view_inputs: dict[str, torch.Tensor]
) -> None:
    operations = forward_operations(model, 1, 5, **view_inputs)
    assert not QUESTIONS & operations.counts.keys() and not operations.crossings
    assert 300 < operations.counts.total() <= MAX_FORWARD, operations.counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_images", "num_classes", "gigabytes"), [(1, 150, 1.5), (1, 847, 2.5), (16, 20, 2.5), (16, 150, 2.5)]
)
def test_memory_is_bounded(
    num_images: int, num_classes: int, gigabytes: float, model: CatSegForSemanticSegmentation
) -> None:
    operations = forward_operations(model, num_images, num_classes)
    assert 0.3e9 < operations.peak <= gigabytes * 1e9
    # Views that go one by one take more operations, but of each photo a bounded number.
    assert operations.counts.total() < 1500 * num_images + 1000


def test_bfloat16_makes_no_detour(model: CatSegForSemanticSegmentation) -> None:
    with torch.device("meta"):
        half = CatSegForSemanticSegmentation(model.config).eval().bfloat16()
    operations = forward_operations(half, 1, 150)
    written = operations.written
    assert set(written) <= {torch.bfloat16, torch.float32, torch.int64}
    # Text and image embeddings are normalised in float32, and the statistics of group norm are float32.
    assert 0 < written[torch.float32] < 0.01 * written[torch.bfloat16]
    assert written[torch.bfloat16] < 0.52 * forward_operations(model, 1, 150).written[torch.float32]


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
