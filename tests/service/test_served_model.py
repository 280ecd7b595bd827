# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Requests that go through the model together: the same answers, shared work, and nobody suffers from others."""

import pytest
import torch
from PIL import Image


pytest.importorskip("ray", reason='needs the extra "serve"')
from dataclasses import replace
from io import BytesIO

from catseg_hf.prompts_catseg import Label
from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting import Segmentation
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.served_model import EmbeddingStore, PreparedRequest, ServedModel
from catseg_hf.service.settings import ServiceSettings


VOCABULARIES: list[list[Label] | None] = [["star", "moon", "ground"], None, [["star", "sun"], "ground"]]


@pytest.fixture
def model() -> ServedModel:
    return ServedModel(ServiceSettings(model="tiny", kept_vocabularies=3))


def request(seed: int, labels: list[Label] | None, size: int = 128) -> SegmentRequest:
    file = BytesIO()
    draw_scene(seed, size).image.save(file, format="PNG")
    return SegmentRequest(file.getvalue(), labels, None, None, "json")


def prepared(model: ServedModel, count: int) -> list[PreparedRequest]:
    return [model.prepare(request(seed, VOCABULARIES[seed % 3])) for seed in range(count)]


def test_together_is_as_alone(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = prepared(model, 6)
    alone = [model.segment([each])[0] for each in waiting]

    passes: dict[str, list[int]] = {"towers": [], "rest": []}
    encode, forward = model.network.get_image_embeds, model.network.forward

    def counted_encode(pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        passes["towers"].append(len(pixel_values))
        return encode(pixel_values)

    def counted_forward(**inputs: torch.Tensor) -> object:
        passes["rest"].append(len(inputs["image_embeds"][0]))
        return forward(**inputs)

    monkeypatch.setattr(model.network, "get_image_embeds", counted_encode)
    monkeypatch.setattr(model.network, "forward", counted_forward)
    together = model.segment(waiting)
    # All photos at once through the towers, those of a vocabulary at once through the rest.
    assert passes == {"towers": [6], "rest": [2, 2, 2]}
    for one, other in zip(alone, together, strict=True):
        assert one.labels == other.labels
        assert (one.class_ids != other.class_ids).mean() < 1e-3  # ties by rounding
        torch.testing.assert_close(torch.from_numpy(one.scores), torch.from_numpy(other.scores), rtol=0, atol=1e-4)


def test_answers_come_in_the_order_of_the_requests(model: ServedModel) -> None:
    # Of different numbers of views, so that they cannot go together.
    views = {"do_sliding_window": True, "do_squash": False, "shortest_edge": 192, "window": 192, "stride": 192}
    for name, value in views.items():
        setattr(model.processor.image_processor, name, value)
    pictures = [Image.new("RGB", size, color) for size, color in [((64, 64), "red"), ((256, 64), "blue")] * 2]
    waiting = []
    for index, picture in enumerate(pictures):
        file = BytesIO()
        picture.save(file, format="PNG")
        waiting.append(model.prepare(SegmentRequest(file.getvalue(), [f"star {index}", "ground"], None, None, "json")))
    assert len({each.inputs["pixel_values"].shape for each in waiting}) == 2
    results = model.segment(waiting)
    assert [result.picture.size for result in results] == [picture.size for picture in pictures]
    assert [result.labels[0] for result in results] == [f"star {index}" for index in range(4)]


def test_each_has_its_own_threshold(model: ServedModel) -> None:
    plain = request(0, ["star", "ground"])
    strict = SegmentRequest(plain.photo, plain.labels, 1.0, "nothing", "json")
    first, second, third = model.segment([model.prepare(each) for each in (plain, strict, plain)])
    assert second.names == ["star", "ground", "nothing"]
    assert ((second.class_ids == 2) == (first.scores < 1)).all() and (second.class_ids == 2).any()
    assert first.names == third.names == ["star", "ground"]
    assert set(first.class_ids.ravel()) <= {0, 1}


def test_what_is_wrong_with_one_is_not_for_others_to_suffer(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = prepared(model, 3)
    waiting[1] = model.prepare(request(1, ["very " * 90 + "long"]))
    results = model.segment(waiting)
    assert isinstance(results[1], ServiceError) and results[1].status == 422
    assert all(isinstance(results[index], Segmentation) for index in (0, 2))

    encode = model.network.get_image_embeds

    def full(pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if len(pixel_values) > 1 or torch.equal(pixel_values, waiting[2].inputs["pixel_values"]):
            raise torch.OutOfMemoryError("none left")
        return encode(pixel_values)

    monkeypatch.setattr(model.network, "get_image_embeds", full)
    results = model.segment(waiting)
    assert isinstance(results[0], Segmentation)
    assert [results[1].status, results[2].status] == [422, 413]


def test_a_failure_is_an_answer(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("/srv/models")

    waiting = prepared(model, 2)
    monkeypatch.setattr(model.network, "get_image_embeds", fail)
    assert [result.status for result in model.segment(waiting)] == [500, 500]
    assert "srv" not in model.segment(waiting)[0].message


def test_the_store_keeps_the_last_vocabularies() -> None:
    computed = []

    def compute(labels: list[Label] | None) -> torch.Tensor:
        computed.append(labels)
        return torch.tensor(len(computed))

    store = EmbeddingStore(compute, 2)
    for labels in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"], None, None):
        store.get(labels)
    assert computed == [["a"], ["b"], ["c"], ["b"], None]
    assert len(store) == 2


def test_similar_vocabularies_are_not_equal() -> None:
    store = EmbeddingStore(lambda labels: torch.tensor(0), 10)
    for labels in (["a", "b"], [["a", "b"]], ["a, b"], ["b", "a"], None):
        store.get(labels)
    assert len(store) == 5


def test_the_model_keeps_no_more_than_it_is_told(model: ServedModel) -> None:
    for index in range(8):
        model.segment([model.prepare(request(0, [f"star {index}", "ground"], 64))])
    assert len(model.embeddings) == 3


def test_settings_are_checked(tmp_path: object) -> None:
    for wrong in ({"max_waiting": 0}, {"timeout": -1.0}, {"replicas": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ServiceSettings(**wrong)


def test_a_model_without_classes_asks_for_labels(model: ServedModel) -> None:
    model.network.config.vocabulary_digest = None
    (refusal,) = model.segment([model.prepare(request(0, None))])
    assert refusal.status == 422 and "send `labels`" in refusal.message


def test_others_are_part_of_what_goes_together(model: ServedModel) -> None:
    plain = request(0, ["star"])
    asked = [replace(plain, others=others) for others in (None, "own", ["moon", "ground"], None, "own")]
    found = model.segment([model.prepare(each) for each in asked])
    alone = [model.segment([model.prepare(each)])[0] for each in asked]
    for one, other in zip(found, alone, strict=True):
        assert (one.class_ids == other.class_ids).all()
    assert (found[0].class_ids == 0).all() and (found[1].class_ids == -1).any() and (found[2].class_ids == -1).any()
    assert found[0].others == [] and len(found[1].others) > 50 and found[2].others == ["moon", "ground"]
