# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The processor: labels, templates, token ids, saving."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import TINY, CatSegForSemanticSegmentation
from catseg_hf.conversion.tokenizer import clip_tokenizer
from catseg_hf.image_processing_catseg import CatSegImageProcessor
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import TEMPLATE_SETS, parse_labels


FIXTURES = Path(__file__).parent / "fixtures"
START, END = 49406, 49407


@pytest.fixture(scope="module")
def processor() -> CatSegProcessor:
    """The defaults of CVPR 2024 with the real tokenizer."""
    return CatSegProcessor(CatSegImageProcessor(), clip_tokenizer())


def without_padding(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[int]:
    return input_ids[attention_mask.bool()].tolist()


# ---- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("cat", ["cat"]),
        ("cat, grass", ["cat", "grass"]),
        (" traffic light ,dog", ["traffic light", "dog"]),
        ("cat, kitten; grass", [["cat", "kitten"], "grass"]),
        ("a;b", ["a", "b"]),
        (["trees, far away", "sky; blue"], ["trees, far away", "sky; blue"]),
        ([["cat", "kitten"], "grass", ["sky"]], [["cat", "kitten"], "grass", "sky"]),
        (("cat", ("dog", "hound")), ["cat", ["dog", "hound"]]),
        ([" As  written "], ["As written"]),
        (["猫", "café", "{}", "🐈"], ["猫", "café", "{}", "🐈"]),
        # Anything with an order: an array, keys, a generator, synonyms in an array
        (np.array(["cat", "grass"]), ["cat", "grass"]),
        (np.array(["cat", "grass"], dtype=object), ["cat", "grass"]),
        ({"cat": 1, "grass": 0}.keys(), ["cat", "grass"]),
        ({0: "cat", 1: "grass"}.values(), ["cat", "grass"]),
        ((name for name in ("cat", "grass")), ["cat", "grass"]),
        (["cat", np.array(["grass", "lawn"])], ["cat", ["grass", "lawn"]]),
        # Full-width commas separate too, but not the semicolons of entities.
        ("猫，犬", ["猫", "犬"]),
        ("rock &amp; roll, men\u2019s room", ["rock & roll", "men's room"]),
        ("cat,\r\ngrass\n", ["cat", "grass"]),
        # ADE20K-847 has classes that share a name.
        ([["bag", "handbag"], ["bag"]], [["bag", "handbag"], "bag"]),
    ],
)
def test_parse_labels(labels: Any, expected: list) -> None:
    parsed = parse_labels(labels)
    assert parsed == expected
    assert all(type(name) is str for label in parsed for name in ([label] if isinstance(label, str) else label))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ([], "empty list"),
        ("cat,,dog", "Label 2 of 3 is empty"),
        ("cat, dog,", "Label 3 of 3 is empty"),
        (["cat", " "], "Label 2 of 2 is empty"),
        (["cat", []], "Label 2 of 2 is empty"),
        (["cat", ["dog", ""]], r"Label 2 of 2 is empty: \['dog', ''\]"),
        (["cat", "dog", "cat"], "Labels 1 and 3 are the same: 'cat'"),
        (["Tea  pot", "tea pot "], "the same"),
        ([["a", "b"], ["a", "b"]], "the same"),
        ([["a", "A"]], "same synonym twice"),
        (["men's room", "men\u2019s room"], "Labels 1 and 2 are the same: .* and "),
        (["cat", "ca\u00adt\ufeff"], "Labels 1 and 2 are the same: 'cat' and 'ca"),
        (["cat", "\u200b"], "Label 2 of 2 is empty"),
        ("cat\ngrass", "a line break between two words"),
        (["cat\ngrass", "dog"], "Label 1 of 2 has a line break"),
        (["caf\ufffd"], "a character that was lost"),
    ],
)
def test_bad_labels_are_refused(labels: Any, message: str, processor: CatSegProcessor) -> None:
    with pytest.raises(ValueError, match=message):
        parse_labels(labels)
    with pytest.raises(ValueError, match=message):
        processor(text=labels)


@pytest.mark.parametrize(
    "labels",
    [
        5,
        {"cat": 1},
        [1],
        ["cat", None],
        [["cat", 2]],
        [[["cat"]]],
        b"cat",
        {"cat", "dog"},
        np.array([["cat"], ["dog"]]),
        np.array("cat"),
        [{"cat": 1}],
    ],
)
def test_labels_of_other_types_are_refused(labels: Any) -> None:
    with pytest.raises(TypeError, match="`text"):
        parse_labels(labels)


# ---- token ids ------------------------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_original(processor: CatSegProcessor) -> None:
    fixture = json.loads((FIXTURES / "tokenizer.json").read_text(encoding="utf-8"))
    template = "A photo of a {} in the scene"
    before, after = template.split("{}")
    cases = {
        text[len(before) : -len(after)]: ids
        for text, ids in zip(fixture["texts"], fixture["official"], strict=True)
        if text.startswith(before) and text.endswith(after)
    }
    assert len(cases) >= 5
    inputs = processor(text=list(cases))
    for ids, mask, expected in zip(inputs.input_ids, inputs.attention_mask, cases.values(), strict=True):
        assert without_padding(ids, mask) == expected


def test_shapes_and_padding(processor: CatSegProcessor) -> None:
    labels = ["cat", "a very small traffic light", "猫"]
    inputs = processor(text=labels, prompt_templates=["a {}", "a photo of many {} in the sun"])
    lengths = inputs.attention_mask.sum(dim=-1)
    assert inputs.input_ids.shape == inputs.attention_mask.shape == (3, 2, lengths.max())
    assert inputs.input_ids.dtype == inputs.attention_mask.dtype == torch.int64
    assert (inputs.input_ids[..., 0] == START).all()
    for label, name in enumerate(labels):
        for template, sentence in enumerate(["a {}", "a photo of many {} in the sun"]):
            expected = processor.tokenizer(sentence.replace("{}", name))["input_ids"]
            ids, mask = inputs.input_ids[label, template], inputs.attention_mask[label, template]
            assert without_padding(ids, mask) == expected
            assert (ids[len(expected) :] == processor.tokenizer.pad_token_id).all()
            assert not mask[len(expected) :].any()


def test_padding_to_a_length(processor: CatSegProcessor) -> None:
    assert processor(text="cat", padding="max_length").input_ids.shape == (1, 1, 77)
    assert processor(text="cat", padding="max_length", max_length=20).input_ids.shape == (1, 1, 20)
    assert processor(text="cat", text_kwargs={"padding": "max_length"}).input_ids.shape == (1, 1, 77)
    with pytest.raises(ValueError, match="`padding`"):
        processor(text="cat", padding=False)


def test_synonyms(processor: CatSegProcessor) -> None:
    labels = ["grass", ["cat", "small kitten", "tom"], ["dog", "hound"]]
    inputs = processor(text=labels)
    assert inputs.input_ids.shape[:3] == (3, 1, 3)
    for label, names in enumerate([["grass"], *labels[1:]]):
        for synonym, name in enumerate(names):
            alone = processor(text=[name])
            assert without_padding(inputs.input_ids[label, 0, synonym], inputs.attention_mask[label, 0, synonym]) == (
                without_padding(alone.input_ids, alone.attention_mask)
            )
        assert not inputs.input_ids[label, :, len(names) :].any()
        assert not inputs.attention_mask[label, :, len(names) :].any()


def test_only_the_first_synonym_if_the_model_takes_no_other() -> None:
    processor = CatSegProcessor(CatSegImageProcessor(), clip_tokenizer(), synonyms="first")
    inputs = processor(text=["grass", ["cat", "kitten"]])
    assert torch.equal(inputs.input_ids, processor(text=["grass", "cat"]).input_ids)


def test_a_string_is_split(processor: CatSegProcessor) -> None:
    assert torch.equal(processor(text="cat, grass").input_ids, processor(text=["cat", "grass"]).input_ids)
    one = processor(text="cat, kitten; grass").input_ids
    assert torch.equal(one, processor(text=[["cat", "kitten"], "grass"]).input_ids)


def test_commas_in_a_list_are_kept(processor: CatSegProcessor) -> None:
    ids = processor(text=["trees, far away"]).input_ids[0, 0].tolist()
    assert ids == processor.tokenizer("A photo of a trees, far away in the scene")["input_ids"]


def test_long_labels_are_refused_by_name(processor: CatSegProcessor) -> None:
    fits = "cat " * (77 - len(processor.tokenizer("A photo of a  in the scene")["input_ids"]))
    assert processor(text=[fits]).input_ids.shape == (1, 1, 77)
    with pytest.raises(ValueError, match=r"Label 2, 'cat cat.*78 tokens.*at most 77"):
        processor(text=["dog", fits + "cat"])
    with pytest.raises(ValueError, match="mark of a prompt's end"):
        processor(text=["cat<|endoftext|>dog"])


def test_many_labels(processor: CatSegProcessor) -> None:
    labels = [f"thing number {index}" for index in range(1000)]
    assert processor(text=labels).input_ids.shape[:2] == (1000, 1)


# ---- templates ------------------------------------------------------------------------------------------------------


def test_template_sets(processor: CatSegProcessor) -> None:
    assert {name: len(templates) for name, templates in TEMPLATE_SETS.items()} == {
        "cvpr": 1,
        "imagenet": 80,
        "imagenet_select": 8,
    }
    for name, templates in TEMPLATE_SETS.items():
        assert len(set(templates)) == len(templates) and all(template.count("{}") == 1 for template in templates)
        assert processor(text=["cat"], prompt_templates=name).input_ids.shape[:2] == (1, len(templates))
    assert processor.prompt_templates == ["A photo of a {} in the scene"]


@pytest.mark.parametrize("templates", ["imagnet", [], ["a photo"], ["a {} and a {}"], [5]])
def test_bad_templates_are_refused(templates: Any, processor: CatSegProcessor) -> None:
    with pytest.raises(ValueError, match="template"):
        processor(text="cat", prompt_templates=templates)
    with pytest.raises(ValueError, match="template"):
        CatSegProcessor(processor.image_processor, processor.tokenizer, prompt_templates=templates)


def test_braces_in_labels_and_templates(processor: CatSegProcessor) -> None:
    ids = processor(text=["{0} {}"], prompt_templates=["{x} {}"]).input_ids[0, 0].tolist()
    assert ids == processor.tokenizer("{x} {0} {}")["input_ids"]


# ---- calls ----------------------------------------------------------------------------------------------------------


def test_images_and_text_together(processor: CatSegProcessor) -> None:
    images = [Image.new("RGB", (40, 30)), np.zeros((20, 30, 3), np.uint8)]
    inputs = processor(images=images, text=["cat", "dog", "bird"])
    assert set(inputs) == {*processor.model_input_names}
    assert inputs.pixel_values.shape == (2, 5, 3, 384, 384) and inputs.input_ids.shape[0] == 3
    assert set(processor(images=images[0])) == {"pixel_values", "view_boxes", "resized_sizes"}
    expected = processor.image_processor(images, return_tensors="pt")
    assert torch.equal(inputs.pixel_values, expected.pixel_values)
    assert inputs.to(torch.float16).input_ids.dtype == torch.int64


def test_segmentation_maps_are_passed_on(processor: CatSegProcessor) -> None:
    image, ids = Image.new("RGB", (40, 30)), np.full((30, 40), 300, np.int32)
    inputs = processor(images=image, segmentation_maps=ids, do_sliding_window=False, image_size=24)
    assert inputs.labels.shape == (1, 24, 24) and (inputs.labels == 300).all()
    assert inputs.pixel_values.shape == (1, 3, 24, 24)


def test_arguments_of_the_image_processor(processor: CatSegProcessor) -> None:
    image = Image.new("RGB", (40, 30), "white")
    small = {"size": {"height": 40, "width": 40}, "window": 24, "stride": 16, "image_size": 24}
    one = processor(images=image, **small)
    assert one.pixel_values.shape == (1, 5, 3, 24, 24)
    assert torch.equal(processor(images=image, images_kwargs=small).pixel_values, one.pixel_values)
    assert processor(images=image, **small, do_rescale=True, rescale_factor=1e-9).pixel_values.max() < 0
    with pytest.raises(ValueError, match="window"):
        processor(images=image, window=24, images_kwargs={"window": 24})


def test_return_types(processor: CatSegProcessor) -> None:
    inputs = processor(text="cat, dog", images=Image.new("RGB", (40, 30)), return_tensors="np")
    assert all(isinstance(values, np.ndarray) for values in inputs.values())
    lists = processor(text="cat, dog", return_tensors=None)
    assert lists["input_ids"] == inputs["input_ids"].tolist()


def test_bad_calls_are_refused(processor: CatSegProcessor) -> None:
    with pytest.raises(ValueError, match="`images`, `text` or both"):
        processor()
    with pytest.raises(ValueError, match="need `images`"):
        processor(text="cat", segmentation_maps=np.zeros((3, 4)))
    with pytest.raises(TypeError, match="labels"):
        processor(images=Image.new("RGB", (4, 4)), labels=["cat"])
    with pytest.raises(ValueError, match="`synonyms`"):
        CatSegProcessor(processor.image_processor, processor.tokenizer, synonyms="all")


def test_post_processing_is_passed_on(processor: CatSegProcessor) -> None:
    outputs = {"logits": torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))}
    scores = processor.post_process_class_scores(outputs, target_sizes=[(20, 30)])[0]
    segmentation = processor.post_process_semantic_segmentation(outputs, target_sizes=[(20, 30)])[0]
    ((best_class, confidence),) = processor.post_process_best_classes(outputs, target_sizes=[(20, 30)])
    assert torch.equal(segmentation, scores.argmax(dim=0)) and torch.equal(best_class, segmentation)
    torch.testing.assert_close(confidence, scores.amax(dim=0))


# ---- saving ---------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    processor = CatSegProcessor(
        CatSegImageProcessor(image_size=336, stride=128), clip_tokenizer(), prompt_templates="imagenet", synonyms="mean"
    )
    processor.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    loaded = CatSegProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.prompt_templates == list(TEMPLATE_SETS["imagenet"]) and loaded.synonyms == "mean"
    labels = ["cat", ["grass", "lawn, mown"], "naïve café"]
    before, after = processor(text=labels), loaded(text=labels)
    assert torch.equal(before.input_ids, after.input_ids) and torch.equal(before.attention_mask, after.attention_mask)


def test_auto_classes_load_it(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoProcessor

    processor = CatSegProcessor(CatSegImageProcessor(image_size=336), clip_tokenizer(), synonyms="mean")
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, CatSegProcessor) and loaded.to_dict() == processor.to_dict()
    assert AutoImageProcessor.from_pretrained(tmp_path).to_dict() == processor.image_processor.to_dict()


def test_html_entities_are_undone_as_in_the_original(processor: CatSegProcessor) -> None:
    reference = json.loads((FIXTURES / "tokenizer.json").read_text(encoding="utf-8"))
    index = next(index for index, text in enumerate(reference["texts"]) if "&amp;" in text)
    inputs = processor(text=[reference["texts"][index]], prompt_templates=["{}"])
    assert without_padding(inputs.input_ids, inputs.attention_mask) == reference["official"][index]


def test_labels_without_words_are_refused() -> None:
    processor = CatSegProcessor.from_pretrained(TINY)
    with pytest.raises(ValueError, match="Label 2, '★', is nothing to the tokenizer"):
        processor(text=["star", "★"])


def test_tokens_of_another_tokenizer_are_refused() -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(TINY)
    with pytest.raises(ValueError, match=r"\[48, 50, 49\] in `input_ids` has tokens that are not from 0 to 49"):
        model.get_text_embeds(torch.tensor([[48, 5, 49], [48, 50, 49]]))
