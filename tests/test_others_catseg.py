# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Classes that compete and are not reported: which they are, and what they take from the labels."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers.utils import logging as transformers_logging

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor, load_vocabulary
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.others_catseg import (
    NUM_OTHERS,
    LabelsWithOthers,
    Others,
    most_similar_others,
    own_labels,
    resolve_others,
    segment_with_others,
    tell_of_others,
    with_others,
)
from catseg_hf.same_names_catseg import SameNames, broader_names, spellings
from catseg_hf.scenes import draw_scene
from tests.tiny_models import backbone_fields, random_images, tiny_config, tiny_model


@pytest.fixture(scope="module")
def tiny() -> tuple[CatSegForSemanticSegmentation, CatSegProcessor]:
    return CatSegForSemanticSegmentation.from_pretrained(TINY).eval(), CatSegProcessor.from_pretrained(TINY)


def embed(tiny: tuple[CatSegForSemanticSegmentation, CatSegProcessor], labels: list[str]) -> torch.Tensor:
    model, processor = tiny
    with torch.inference_mode():
        return model.get_text_embeds(processor(text=labels)["input_ids"])


def join(labels: list[Any], others: list[Any], *, written: bool = False) -> LabelsWithOthers:
    """With embeddings that are all apart, so that only names decide."""
    embeds = torch.eye(len(labels) + len(others))[:, None]
    return with_others(labels, embeds[: len(labels)], Others(others, written), embeds[len(labels) :])


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cars", {"cars", "car"}),
        ("bus", {"bus"}),
        ("buses", {"buses", "buse", "bus"}),
        ("knives", {"knives", "knive", "knif", "knife"}),
        ("gloves", {"gloves", "glove", "glof", "glofe"}),
        ("cherries", {"cherries", "cherrie", "cherry"}),
        ("houses", {"houses", "house", "hous"}),
        ("capes", {"capes", "cape"}),
        ("glass", {"glass"}),
        ("people", {"people", "person"}),
        ("tennis rackets", {"tennis rackets", "tennis racket"}),
        ("water-other", {"water"}),
        ("wall-brick", {"wall brick", "brick wall"}),
        ("The cats", {"cats", "cat"}),
        (" Stop&amp;Go  sign ", {"stop&go sign"}),
    ],
)
def test_spellings(name: str, expected: set[str]) -> None:
    assert spellings(name) == expected


def test_broader_names() -> None:
    assert broader_names("red fire engines") == {"fire engines", "fire engine", "engines", "engine"}
    assert broader_names("wall-brick") == {"brick", "wall"} and broader_names("wall") == set()


@pytest.mark.parametrize(
    ("label", "other", "means_same", "is_kind"),
    [
        ("couch", "sofa", True, True),
        ("cars", ["car", "auto", "automobile", "machine", "motorcar"], True, True),
        ("Sky", "sky-other", True, True),
        ("traffic light", "Traffic  Lights", True, True),
        ("dining table", "table", False, False),
        ("table", "dining table", False, True),
        ("wall", "wall-brick", False, True),
        ("brick wall", "wall-brick", True, True),
        (["desk", "table"], "pool table", False, True),
        ("cars", "arcade machine", False, False),
        ("table", "table tennis", False, False),
        ("cap", "cape", False, False),
        ("cat", "dog", False, False),
        ("a star", "star", True, True),
        ("the stars", "yellow star", False, True),
        ("something red", "red circle", False, True),
        ("something red", "circle", False, False),
        ("a", "a", True, True),
    ],
)
def test_what_means_the_same(label: Any, other: Any, means_same: bool, is_kind: bool) -> None:
    names = SameNames([label], [load_vocabulary("ade20k_847")])
    assert (names.label_of(other, kinds_too=False) == label) == means_same
    assert (names.label_of(other, kinds_too=True) == label) == is_kind
    assert SameNames([label]).label_of("something else", kinds_too=True) is None


# ---- which others ---------------------------------------------------------------------------------------------------


def test_what_others_can_be(tiny: tuple[CatSegForSemanticSegmentation, CatSegProcessor], tmp_path: Path) -> None:
    config = tiny[0].config
    assert resolve_others(None, config) == resolve_others([], config) == ([], True)
    assert resolve_others("own", config) == (list(config.id2label.values()), False)
    assert resolve_others("own", tiny_config()) == (load_vocabulary("coco_stuff_171"), False)
    assert resolve_others("ade20k_847", config) == (load_vocabulary("ade20k_847"), False)
    file = tmp_path / "others.txt"
    file.write_text("cat | kitten\ngrass\n")
    assert resolve_others(file, config) == resolve_others(str(file), config) == ([["cat", "kitten"], "grass"], False)
    assert resolve_others(["sky", ["cat", "kitten"]], config) == (["sky", ["cat", "kitten"]], True)
    assert resolve_others("sky, sea", config) == resolve_others(iter(["sky", "sea"]), config) == (["sky", "sea"], True)


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ("no_such_list", ValueError, "no vocabulary 'no_such_list'.*coco_stuff_171"),
        (["sky", "Sky"], ValueError, "Labels 1 and 2 are the same"),
        (["sky", ""], ValueError, "Label 2 of 2 is empty"),
        (7, TypeError, "`others` must be a string or a list"),
    ],
)
def test_wrong_others_are_refused(others: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_others(others, tiny_config())


def test_own_classes_keep_their_synonyms() -> None:
    names = {0: "sofa, couch, lounge", 1: "trees, far away", 2: "sky"}
    config = CatSegConfig(id2label=names, vocabulary_synonym_counts=[3, 1, 1])
    assert own_labels(config) == [["sofa", "couch", "lounge"], "trees, far away", "sky"]


def test_a_label_among_the_others_does_not_compete_with_itself() -> None:
    joined = join(["couch", "cars"], ["sky", "sofa", "cars", "Couch", "armchair"], written=True)
    assert joined.others == ["sky", "armchair"] and joined.num_labels == 2
    assert joined.left_out == {"sofa": "couch", "cars": "cars", "Couch": "couch"}
    assert torch.equal(joined.text_embeds, torch.eye(7)[[0, 1, 2, 6], None])


def test_kinds_of_a_label_stay_where_they_were_written() -> None:
    assert join(["red circle"], ["circle", "striped red circle", "square"]).others == ["circle", "square"]
    written = join(["red circle"], ["circle", "striped red circle", "square"], written=True)
    assert written.others == ["circle", "striped red circle", "square"] and written.left_out == {}


def test_without_others_the_embeddings_are_those_of_the_labels() -> None:
    embeds = torch.eye(2)[:, None]
    nothing = with_others(["a", "b"], embeds, Others([], written=True), None)
    assert nothing.text_embeds is embeds and nothing.others == [] and nothing.left_out == {}
    all_the_same = with_others(["a", "b"], embeds, Others(["B", "A"], written=True), embeds)
    assert all_the_same.text_embeds is embeds and all_the_same.left_out == {"B": "b", "A": "a"}


def test_text_embeddings_tell_other_words_for_the_same(
    tiny: tuple[CatSegForSemanticSegmentation, CatSegProcessor],
) -> None:
    own = list(tiny[0].config.id2label.values())
    labels = ["violet disc", "yellow crescent", "striped red heart"]
    found = with_others(labels, embed(tiny, labels), Others(own, written=False), embed(tiny, own))
    assert found.left_out == {"purple circle": "violet disc", "yellow moon": "yellow crescent"}
    written = with_others(labels, embed(tiny, labels), Others(own, written=True), embed(tiny, own))
    assert written.left_out == {} and written.others == own


def test_embeddings_with_and_without_synonyms_are_joined() -> None:
    labels, others = torch.rand(2, 1, 8), torch.rand(3, 1, 4, 8)
    joined = with_others(["a", "b"], labels, Others(["c", "d", "e"], written=True), others).text_embeds
    assert torch.equal(joined[:2, :, 0], labels) and not joined[:2, :, 1:].any() and torch.equal(joined[2:], others)


# ---- the model ------------------------------------------------------------------------------------------------------


NUM_LABELS, NUM_CLASSES = 2, 9


def inputs_of(model: CatSegForSemanticSegmentation, *views: int) -> dict[str, torch.Tensor]:
    inputs = {"pixel_values": random_images(*views, 3, 64, 64)}
    if model.model.backbone is not None:
        inputs["backbone_pixel_values"] = random_images(*views, 3, 128, 128, seed=1)
    return inputs


def embeds_of_places(image_embeds: tuple[torch.Tensor, ...], images: list[int]) -> torch.Tensor:
    """Text embeddings that are each as some place of an image, or of a view where that is all there is."""
    places = F.normalize(image_embeds[0], dim=-1).flatten(1, -2)
    return torch.stack([places[image, 7 * row + 3] for row, image in enumerate(images)])[:, None]


def random_embeds(*shape: int) -> torch.Tensor:
    return F.normalize(random_images(*shape, seed=2), dim=-1)


@pytest.mark.parametrize("fields", [{}, backbone_fields("resnet"), {"class_attention": "softmax"}])
@pytest.mark.parametrize("views", [(3,), (2, 3)])
def test_with_all_others_it_is_the_plain_decision(fields: dict[str, Any], views: tuple[int, ...]) -> None:
    model = tiny_model(**{"class_padding_length": 0, **fields})
    inputs, embeds = inputs_of(model, *views), random_embeds(NUM_CLASSES, 1, 24)
    with torch.inference_mode():
        plain = model(**inputs, text_embeds=embeds).logits
        for number in (None, NUM_CLASSES - NUM_LABELS, 100):
            assert torch.equal(segment_with_others(model, embeds, NUM_LABELS, number, **inputs).logits, plain)
        alone = model(**inputs, text_embeds=embeds[:NUM_LABELS]).logits
        assert torch.equal(segment_with_others(model, embeds[:NUM_LABELS], NUM_LABELS, **inputs).logits, alone)


@pytest.mark.parametrize("fields", [{}, backbone_fields("swin")])
@pytest.mark.parametrize("views", [(3,), (4, 3)])
def test_the_most_similar_others_of_each_image_compete(
    fields: dict[str, Any], views: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(**fields)
    inputs = inputs_of(model, *views)
    monkeypatch.setattr("catseg_hf.others_catseg.views_at_a_time", lambda *_, **__: 6)
    with torch.inference_mode():
        encoded = model.get_image_embeds(**inputs)
        others = [row % views[0] for row in range(NUM_CLASSES - NUM_LABELS)]
        embeds = torch.cat([random_embeds(NUM_LABELS, 1, 24), embeds_of_places(encoded, others)])
        dense = F.normalize(encoded[0], dim=-1).flatten(1, -2)
        best = (dense @ embeds[NUM_LABELS:, 0].T).amax(dim=1)  # images, others
        together = segment_with_others(model, embeds, NUM_LABELS, 3, **inputs).logits
        kept = segment_with_others(model, embeds, NUM_LABELS, 3, keep_rows=True, image_embeds=encoded).logits
        chosen = set()
        for index in range(views[0]):
            others = best[index].argsort(descending=True)[:3].sort().values + NUM_LABELS
            rows = [*range(NUM_LABELS), *others.tolist()]
            chosen.add(tuple(rows))
            alone = model(image_embeds=tuple(each[[index]] for each in encoded), text_embeds=embeds[rows]).logits[0]
            torch.testing.assert_close(together[index], alone, rtol=0, atol=1e-5)
            torch.testing.assert_close(kept[index].index_select(-3, torch.tensor(rows)), alone, rtol=0, atol=1e-5)
            left = [row for row in range(NUM_CLASSES) if row not in rows]
            assert (kept[index].index_select(-3, torch.tensor(left)) == -100).all()
    assert len(chosen) > 1 and kept.shape[-3] == NUM_CLASSES


def test_views_that_fill_up_a_batch_choose_nothing() -> None:
    model = tiny_model()
    pixels = random_images(1, 3, 3, 64, 64)
    filled = torch.cat([pixels[:, :2], torch.zeros(1, 1, 3, 64, 64)], dim=1)
    boxes = torch.tensor([[[0, 0, 40, 40], [0, 24, 40, 64], [0, 0, 0, 0]]])
    with torch.inference_mode():
        of_two, of_three = (model.get_image_embeds(each) for each in (pixels[:, :2], filled))
        views = tuple(each[0] for each in of_three)
        embeds = torch.cat([random_embeds(1, 1, 24), embeds_of_places(views, [2, 2, 0, 1])])
        others = most_similar_others(model, of_two, embeds, 2)
        assert others.tolist() == [3, 4] and torch.equal(
            others, most_similar_others(model, of_three, embeds, 2, boxes[0].any(dim=-1))
        )
        assert not torch.equal(others, most_similar_others(model, of_three, embeds, 2))
        outputs = segment_with_others(model, embeds, 1, 2, pixel_values=filled, view_boxes=boxes)
        expected = segment_with_others(model, embeds, 1, 2, pixel_values=pixels[:, :2])
    torch.testing.assert_close(outputs.logits[:, :2], expected.logits, rtol=0, atol=1e-5)
    assert outputs.view_boxes is boxes


def test_synonyms_and_templates_of_others_are_compared() -> None:
    model = tiny_model(synonyms="max", prompt_templates=("a {}", "the {}"))
    embeds = random_embeds(5, 2, 3, 24)
    embeds[1, :, 1:] = embeds[3, :, 2] = 0
    image_embeds = model.get_image_embeds(random_images(1, 3, 64, 64))
    mean = F.normalize(embeds.mean(dim=1), dim=-1)
    similarity = torch.einsum("sd,tnd->tns", F.normalize(image_embeds[0], dim=-1).flatten(0, 2), mean)
    similarity = similarity.masked_fill((mean == 0).all(dim=-1)[..., None], -1)
    expected = similarity.flatten(1).amax(dim=1).topk(2).indices.sort().values
    assert torch.equal(most_similar_others(model, image_embeds, embeds, 2), expected)


def test_wrong_inputs_are_refused() -> None:
    model, embeds = tiny_model(), random_embeds(NUM_CLASSES, 1, 24)
    for number in (2, None):
        with pytest.raises(ValueError, match="of height 60 and width 64"):
            segment_with_others(model, embeds, 1, number, pixel_values=random_images(1, 3, 60, 64))
        with pytest.raises(ValueError, match="text_embeds"):
            segment_with_others(model, embeds[..., :3], 1, number, pixel_values=random_images(1, 3, 64, 64))


def test_a_label_alone_takes_only_what_it_names(
    tiny: tuple[CatSegForSemanticSegmentation, CatSegProcessor],
) -> None:
    model, processor = tiny
    own = resolve_others("own", model.config)
    own_embeds = embed(tiny, own.labels)
    found = {number: [0, 0] for number in ("alone", NUM_OTHERS, None)}
    for seed in range(10000, 10004):
        scene = draw_scene(seed)
        label = scene.names[0]
        classes = with_others([label], embed(tiny, [label]), own, own_embeds)
        for number, counts in found.items():
            embeds = classes.text_embeds[:1] if number == "alone" else classes.text_embeds
            with torch.inference_mode():
                outputs = segment_with_others(
                    model, embeds, 1, None if number == "alone" else number, **processor(images=scene.image)
                )
            (label_map,) = processor.post_process_semantic_segmentation(outputs, [scene.label_map.shape], num_labels=1)
            is_found, is_there = label_map.numpy() == 0, scene.label_map == 0
            counts[0] += (is_found & is_there).sum()
            counts[1] += (is_found | is_there).sum()
    iou = {number: both / either for number, (both, either) in found.items()}
    assert iou["alone"] < 0.1 and iou[None] > 0.7 and iou[NUM_OTHERS] > iou[None] - 0.01


# ---- what is said ---------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    transformers_logging.enable_propagation()
    logging.Logger.warning_once.cache_clear()
    yield caplog
    transformers_logging.disable_propagation()


def test_what_is_said(logged: pytest.LogCaptureFixture) -> None:
    tell_of_others(join(["cat"], ["dog"], written=True))
    tell_of_others(join(["cat"], []), threshold=0.3)
    tell_of_others(join(["cat", "dog"], []))
    tell_of_others(join(["cat", "dog"], ["Cat", "sky"]))
    assert logged.messages == []
    for _ in range(2):
        tell_of_others(join(["couch"], ["sofa", "cat"]))
    assert logged.messages == ["Left out of the others, as they mean the same as a label: 'sofa' (couch)."]
    logged.clear()
    tell_of_others(join(["cat"], []))
    assert len(logged.messages) == 1 and 'others="own"' in logged.text and "threshold" in logged.text
