# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A device without enough memory: less at a time, the same result, one line that says so."""

from typing import Any

import pytest
import torch
from tiny_models import random_images, random_input_ids, tiny_model
from transformers.utils import logging

from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation, CatSegImageProcessor
from catseg_hf.chunking_catseg import aggregated_views, class_chunk_size, joined, views_at_a_time, with_less_memory
from catseg_hf.decoder_catseg import CatSegDecoder
from catseg_hf.merging_catseg import MergedViews


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, as often as it is said."""
    said: list[str] = []
    logger = logging.get_logger("catseg_hf.chunking_catseg")
    monkeypatch.setattr(type(logger), "warning_once", lambda self, text: said.append(text))
    return said


def limit_decoder(monkeypatch: pytest.MonkeyPatch, max_views: int, max_maps: int) -> list[tuple[int, int]]:
    """Makes the decoder run out of memory above these sizes; returns what it was called with."""
    calls: list[tuple[int, int]] = []
    decode = CatSegDecoder.forward

    def limited(self: CatSegDecoder, hidden_states: torch.Tensor, guidance: Any, chunk_size: int) -> torch.Tensor:
        calls.append((len(hidden_states), chunk_size))
        if len(hidden_states) > max_views or chunk_size > max_maps:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(self, hidden_states, guidance, chunk_size)

    monkeypatch.setattr(CatSegDecoder, "forward", limited)
    return calls


@pytest.mark.parametrize(("max_views", "max_maps"), [(5, 4), (2, 40), (1, 1)])
def test_the_model_goes_down_to_one_view_and_one_class(
    max_views: int, max_maps: int, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(1, 5, 3, 64, 64), "text_embeds": random_images(7, 1, 24)}
    with torch.no_grad():
        expected = model(**inputs).logits
        calls = limit_decoder(monkeypatch, max_views, max_maps)
        logits = model(**inputs).logits
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert calls[-1][0] <= max_views and calls[-1][1] <= max_maps
    (text,) = warnings
    assert text.startswith("Out of memory with 35 class maps and 5 views at a time: done with ")


def test_what_does_not_fit_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(1, 5, 3, 64, 64), "text_embeds": random_images(7, 1, 24)}
    calls = limit_decoder(monkeypatch, 0, 0)
    with torch.no_grad(), pytest.raises(torch.OutOfMemoryError):
        model(**inputs)
    assert calls[-1] == (1, 1) and len(calls) < 10 and not warnings
    # With a gradient everything is kept, however few classes there are at a time.
    calls.clear()
    with pytest.raises(torch.OutOfMemoryError):
        model(**inputs)
    assert len(calls) == 1


def test_hidden_states_keep_the_views_together(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(2, 3, 64, 64), "text_embeds": random_images(5, 1, 24)}
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True)
        limit_decoder(monkeypatch, 2, 3)
        outputs = model(**inputs, output_hidden_states=True)
    torch.testing.assert_close(outputs.logits, expected.logits, rtol=0, atol=1e-5)
    assert outputs.hidden_states[0].shape == expected.hidden_states[0].shape == (2, 5, 64, 16)
    assert warnings[0].startswith("Out of memory with 10 class maps at a time: done with 2 class maps.")


@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
def test_the_merge_goes_down_to_one_class(
    score_function: str, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    processor = CatSegImageProcessor(score_function=score_function)
    inputs = processor(torch.zeros(3, 60, 80), return_tensors="pt")
    outputs = {**inputs, "logits": random_images(1, 5, 6, 12, 12)}
    merges = (
        processor.post_process_semantic_segmentation,
        processor.post_process_best_classes,
        processor.post_process_class_scores,
    )
    expected = [merge(outputs, [(60, 80)], search=False)[0] for merge in merges]
    whole = MergedViews.whole

    def limited(self: MergedViews) -> torch.Tensor:
        if self.num_classes > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self)

    monkeypatch.setattr(MergedViews, "whole", limited)
    results = [merge(outputs, [(60, 80)], search=False)[0] for merge in merges]
    torch.testing.assert_close(results, expected)
    assert len(warnings) == 3 and all("6 classes at a time: done with 1" in text for text in warnings)


def test_with_less_memory_tries_no_size_twice() -> None:
    tried: list[tuple[int, int]] = []

    def compute(classes: int, views: int) -> str:
        tried.append((classes, views))
        if classes > 1:
            raise torch.OutOfMemoryError
        return "done"

    with torch.no_grad():
        assert with_less_memory(compute, {"classes": (100, 6), "views": (9, 2)}) == "done"
    assert tried == [(100, 9), (3, 1), (1, 1)]


def test_joined_is_a_concatenation() -> None:
    maps = random_images(2, 7, 3)
    for size in (1, 3, 7, 9):
        with torch.no_grad():
            assert torch.equal(joined(iter(maps.split(size, dim=1)), 7, dim=1), maps)
        assert torch.equal(joined(iter(maps.split(size, dim=1)), 7, dim=1), maps)


def test_sizes_on_a_gpu() -> None:
    config, device = CatSegConfig.vit_base(), torch.device("cuda")  # only its name is looked at
    maps = class_chunk_size(config, 24, 24, device)
    assert 20 <= maps <= 1000
    with torch.no_grad():
        # A few photos go through CLIP at once, and further where there are few words; many words view by view.
        assert 5 * 6 <= views_at_a_time(device, needs_all=False) <= 80
        views = [
            aggregated_views(config, num_classes, maps, training=False, needs_all=False)
            for num_classes in (5, 20, 150, 847, 10**6)
        ]
    assert views[0] >= 40 and views[1] >= 10 and views[2:] == [1, 1, 1]


@pytest.mark.parametrize("num_classes", [1, 3, 7])
def test_views_together_and_one_by_one_are_the_same(num_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"pixel_values": random_images(2, 5, 3, 64, 64), "text_embeds": random_images(num_classes, 1, 24)}
    decode, views = CatSegDecoder.forward, []

    def counted(self: CatSegDecoder, hidden_states: torch.Tensor, *args: Any) -> torch.Tensor:
        views.append(len(hidden_states))
        return decode(self, hidden_states, *args)

    monkeypatch.setattr(CatSegDecoder, "forward", counted)
    with torch.no_grad():
        for chunk_size, expected_views in ((1000, [8, 2]), (2 * num_classes, [2] * 5), (1, [1] * 10)):
            logits = tiny_model(class_chunk_size=chunk_size)(**inputs).logits
            assert views == expected_views
            views.clear()
            together = tiny_model(class_chunk_size=chunk_size)(**inputs, output_hidden_states=True).logits
            assert views == [10]
            views.clear()
            torch.testing.assert_close(logits, together, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_compiled_without_a_break_and_not_anew_for_each_vocabulary() -> None:
    torch.compiler.reset()  # What other tests of this process compiled decides on which sizes are taken for variable.
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    model = tiny_model()  # whose padding tokens fill up to 6 classes: fewer are one kind of graph, more another
    model.compile(backend=backend, fullgraph=True)
    plain = CatSegForSemanticSegmentation(model.config).eval()
    plain.load_state_dict(model.state_dict())
    pixel_values = random_images(1, 2, 3, 64, 64)
    for num_classes in (4, 8, 3, 2, 9, 5, 30, 50):
        text_embeds = random_images(num_classes, 1, 24)
        with torch.no_grad():
            logits = model(pixel_values, text_embeds=text_embeds).logits
            torch.testing.assert_close(logits, plain(pixel_values, text_embeds=text_embeds).logits, rtol=0, atol=1e-5)
    assert len(graphs) == 3, graphs  # one of fixed size, and one for any number on each side of the padding


def test_compiled_training_reads_prompts_beside_one_graph() -> None:
    torch.compiler.reset()
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    model = tiny_model().train()
    plain = CatSegForSemanticSegmentation(model.config).train()
    plain.load_state_dict(model.state_dict())
    model.compile(backend=backend)
    inputs = {"pixel_values": random_images(2, 3, 64, 64), "labels": torch.zeros(2, 64, 64, dtype=torch.int64)}
    for seed in range(3):
        inputs["input_ids"] = random_input_ids(3, 1, 8 - seed, seed=seed)  # prompts of other lengths
        losses = []
        for each in (plain, model):
            each.zero_grad()
            loss = each(**inputs).loss
            loss.backward()
            losses.append(loss.detach())
        torch.testing.assert_close(*losses)
    # The model once, and what looks at the shape of prompts.
    assert [size > 100 for size in sorted(graphs)] == [False] * (len(graphs) - 1) + [True] and len(graphs) <= 2, graphs
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.grad is not None}
    assert any("text_model" in name for name in gradients)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)
