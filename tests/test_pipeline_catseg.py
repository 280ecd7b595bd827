# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("image-segmentation")` with labels of one's own, and other models' pipelines as they were."""

import base64
import copy
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import CLIPImageProcessor, CLIPProcessor, ImageSegmentationPipeline, pipeline
from transformers.pipelines.pt_utils import KeyDataset

import catseg_hf
from catseg_hf import (
    CatSegForSemanticSegmentation,
    CatSegImageSegmentationPipeline,
    CatSegModel,
    CatSegProcessor,
    load_vocabulary,
)
from catseg_hf.others_catseg import segment_with_others
from tests.tiny_pipelines import save_tiny_pipeline


ROOT = Path(catseg_hf.__file__).parents[1]
LABELS = ["cat", ["grass", "lawn"], "sky"]


def noise(*shape: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def load(model: Any, **kwargs: Any) -> CatSegImageSegmentationPipeline:
    return pipeline("image-segmentation", model=model, **kwargs)


def comparable(results: list[dict[str, Any]]) -> list[tuple[str, float, bytes]]:
    return [(each["label"], round(each["score"], 5), np.asarray(each["mask"]).tobytes()) for each in results]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pipe(tiny_folder: Path) -> CatSegImageSegmentationPipeline:
    return load(str(tiny_folder))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    sizes = [(50, 70), (40, 30), (33, 90)]
    for number, size in enumerate(sizes):
        noise(*size, 3, seed=number).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def expected(pipe: CatSegImageSegmentationPipeline, photos: list[Path]) -> list[list[tuple[str, float, bytes]]]:
    """The result for each photo, by itself."""
    return [comparable(pipe(str(path), candidate_labels=LABELS)) for path in photos]


def test_views_are_made_on_the_device_and_what_is_read_of_them_is_not_there(
    pipe: CatSegImageSegmentationPipeline, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "device", torch.device("meta"))
    inputs = pipe.preprocess(str(photos[0]))["inputs"]
    assert inputs["pixel_values"].device.type == "meta"
    # `pipeline` moves tensors to the device, from where post-processing would have to fetch them.
    assert isinstance(inputs["view_boxes"], list) and isinstance(inputs["resized_sizes"], list)


def test_results_are_those_of_model_and_processor(tiny_folder: Path, pipe: Any, photos: list[Path]) -> None:
    labels = [*LABELS, "rare thing"]
    results = pipe(str(photos[0]), candidate_labels=labels)

    model = CatSegForSemanticSegmentation.from_pretrained(tiny_folder)
    processor = CatSegProcessor.from_pretrained(tiny_folder)
    with torch.no_grad():
        outputs = model(**processor(images=Image.open(photos[0]), text=labels))
    classes, scores = processor.post_process_best_classes(outputs, target_sizes=[(50, 70)])[0]
    names = ["cat", "grass, lawn", "sky", "rare thing"]
    present = [index for index in range(4) if (classes == index).any()]
    assert [each["label"] for each in results] == [names[index] for index in present]
    for index, each in zip(present, results, strict=True):
        assert set(each) == {"label", "score", "mask"}
        assert each["mask"].mode == "L" and each["mask"].size == (70, 50)
        assert np.array_equal(np.asarray(each["mask"]), (classes == index).numpy() * np.uint8(255))
        assert each["score"] == pytest.approx(float(scores[classes == index].double().mean()), abs=1e-6)
        assert type(each["score"]) is float


def test_labels_without_a_pixel_are_not_in_the_output(pipe: Any) -> None:
    results = pipe(Image.new("RGB", (20, 16), "green"), candidate_labels=[f"thing {index}" for index in range(60)])
    assert 0 < len(results) < 60
    assert sum(np.asarray(each["mask"], dtype=np.int64) for each in results).tolist() == [[255] * 20] * 16


def test_labels_in_one_string(pipe: Any, photos: list[Path], expected: Any) -> None:
    assert comparable(pipe(str(photos[0]), candidate_labels="cat; grass, lawn; sky")) == expected[0]


def test_without_labels_the_vocabulary_of_the_model(tiny_folder: Path, pipe: Any, photos: list[Path]) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_folder)
    labels = ["dog", ["cat", "kitten"]]
    model.set_vocabulary(labels, pipe.processor(text=labels)["input_ids"])
    results = load(model, processor=pipe.processor)(str(photos[0]))
    assert comparable(results) == comparable(pipe(str(photos[0]), candidate_labels=labels))
    assert {each["label"] for each in results} <= {"dog", "cat, kitten"}


def test_pixels_below_the_threshold(pipe: Any, photos: list[Path]) -> None:
    segment = partial(pipe, str(photos[0]), candidate_labels=LABELS)
    full = {each["label"]: np.asarray(each["mask"]) > 0 for each in segment()}
    outputs = {}
    threshold = float(np.mean([each["score"] for each in segment()]))  # in the midst of the scores
    for name in (None, "unknown", "sky"):
        results = segment(threshold=threshold, background_label=name)
        outputs[name] = {each["label"]: np.asarray(each["mask"]) > 0 for each in results}
        assert len(outputs[name]) == len(results)
    covered = np.any(list(outputs[None].values()), axis=0)
    assert 0 < covered.sum() < covered.size
    assert all((mask <= full[label]).all() for label, mask in outputs[None].items())
    # Under a name of its own, it is the last entry; under a label's, it is part of that class.
    assert list(outputs["unknown"]) == [*outputs[None], "unknown"]
    assert np.array_equal(outputs["unknown"]["unknown"], ~covered)
    assert np.array_equal(outputs["sky"]["sky"], outputs[None].get("sky", False) | ~covered)
    assert segment(threshold=1.0) == []
    (everything,) = segment(threshold=1, background_label="unknown")
    assert everything["mask"].getextrema() == (255, 255)
    mean = np.average([each["score"] for each in segment()], weights=[mask.sum() for mask in full.values()])
    assert everything["score"] == pytest.approx(1 - mean, abs=1e-6)
    assert comparable(segment(threshold=0)) == comparable(segment(threshold=None)) == comparable(segment())


@pytest.fixture
def address(photos: list[Path]) -> Iterator[str]:
    """The photos, served over HTTP on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=photos[0].parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_images_from_anywhere(pipe: Any, photos: list[Path], expected: Any, address: str) -> None:
    text = base64.b64encode(photos[0].read_bytes()).decode()
    for image in (photos[0], Image.open(photos[0]), f"{address}/0.png", text):
        assert comparable(pipe(image, candidate_labels=LABELS, timeout=20)) == expected[0]
    with pytest.raises(ValueError, match="Incorrect image source"):
        pipe("no such file.png", candidate_labels=LABELS)
    with pytest.raises(TypeError, match="Incorrect format used for image"):
        pipe({"image": photos[0]}, candidate_labels=LABELS)


def test_many_images(pipe: Any, photos: list[Path], expected: Any) -> None:
    images = [Image.open(path) for path in photos]
    data = Dataset.from_dict({"image": [str(path) for path in photos]})
    segment = partial(pipe, candidate_labels=LABELS)
    listed = segment([str(path) for path in photos])
    assert type(listed) is list and [comparable(each) for each in listed] == expected
    for inputs in ((image for image in images), KeyDataset(data, "image"), data["image"]):
        results = segment(inputs, batch_size=2)
        assert not isinstance(results, list)
        assert [comparable(each) for each in results] == expected
    with_worker = segment([str(path) for path in photos], batch_size=3, num_workers=1)
    assert [comparable(each) for each in with_worker] == expected
    assert list(segment(image for image in [])) == []


def test_a_batch_of_images_with_different_numbers_of_views(tiny_folder: Path, photos: list[Path]) -> None:
    processor = CatSegProcessor.from_pretrained(tiny_folder)
    processor.image_processor.do_squash = False
    segment = partial(load(str(tiny_folder), processor=processor), candidate_labels=LABELS)
    images = [Image.open(path) for path in photos[1:]]
    assert len({processor(images=image)["pixel_values"].shape[1] for image in images}) == 2
    one_by_one = [comparable(segment(image)) for image in images]
    assert [comparable(each) for each in segment(images, batch_size=2)] == one_by_one
    plain = copy.deepcopy(processor)
    plain.image_processor.do_sliding_window = False
    plain = partial(load(str(tiny_folder), processor=plain), candidate_labels=LABELS)
    assert [comparable(each) for each in plain(images, batch_size=2)] == [comparable(plain(each)) for each in images]


def test_orientation_and_transparency(pipe: Any, tmp_path: Path) -> None:
    upright = noise(50, 30, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned = pipe(str(tmp_path / "turned.png"), candidate_labels=LABELS)
    assert turned[0]["mask"].size == (30, 50)
    assert comparable(turned) == comparable(pipe(upright, candidate_labels=LABELS))
    # As the image processor has it: on white
    see_through = noise(50, 30, 4, seed=1)
    see_through.save(tmp_path / "see_through.png")
    on_white = Image.alpha_composite(Image.new("RGBA", (30, 50), "white"), see_through).convert("RGB")
    results = [pipe(image, candidate_labels=LABELS) for image in (str(tmp_path / "see_through.png"), on_white)]
    differ = [np.asarray(a["mask"]) != np.asarray(b["mask"]) for a, b in zip(*results, strict=True)]
    assert np.mean(differ) < 0.05  # Pillow rounds the mixed colours in another way


@pytest.mark.parametrize("arguments", [{}, {"candidate_labels": ["cat", "grass"]}])
def test_words_are_embedded_once_for_each_call(
    tiny_folder: Path, photos: list[Path], arguments: dict[str, Any]
) -> None:
    pipe = load(str(tiny_folder))
    calls = []
    text_model = pipe.model.model.clip.text_model
    text_model.register_forward_hook(lambda module, args, kwargs, output: calls.append(1), with_kwargs=True)
    paths = [str(path) for path in photos]

    def number_of_embeddings(inputs: Any, **options: Any) -> int:
        calls.clear()
        results = pipe(inputs, **arguments, **options)
        assert len(list(results)) == len(paths) or isinstance(inputs, str)
        return len(calls)

    assert number_of_embeddings(paths) == 1
    assert number_of_embeddings(paths, batch_size=2) == 1
    assert number_of_embeddings(path for path in paths) == 1
    assert number_of_embeddings(KeyDataset(Dataset.from_dict({"image": paths}), "image")) == 1
    assert number_of_embeddings(paths[0]) == 1
    assert number_of_embeddings(paths[0]) == 1  # nothing is kept from the call before


def test_a_call_follows_the_weights_of_now(tiny_folder: Path, photos: list[Path]) -> None:
    pipe = load(str(tiny_folder), candidate_labels=["cat", "grass", "sky"])
    before = comparable(pipe(str(photos[0])))
    pipe.model.model.clip.text_model.encoder.layers[0].mlp.fc2.weight.data.mul_(-3)
    after = comparable(pipe(str(photos[0])))
    fresh = CatSegForSemanticSegmentation(pipe.model.config)
    fresh.load_state_dict(pipe.model.state_dict())
    other = load(fresh, processor=pipe.processor, candidate_labels=["cat", "grass", "sky"])
    assert after == comparable(other(str(photos[0]))) != before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"candidate_label": ["cat"]}, TypeError, r"\['candidate_label'\].*candidate_labels"),
        ({"mask_threshold": 0.5, "labels": 1}, TypeError, r"\['labels', 'mask_threshold'\]"),
        ({"subtask": "panoptic"}, ValueError, r"`subtask='panoptic'`.*\"semantic\""),
        ({"candidate_labels": []}, ValueError, "`candidate_labels` is an empty list"),
        ({"candidate_labels": " "}, ValueError, "`candidate_labels` is empty"),
        ({"candidate_labels": ["cat", 3]}, TypeError, r"`candidate_labels\[1\]`"),
        ({"candidate_labels": 3}, TypeError, "`candidate_labels` must be"),
        ({"candidate_labels": ["cat", "Cat"]}, ValueError, "are the same"),
        ({"threshold": 1.5}, ValueError, "`threshold` must be .* got 1.5"),
        ({"threshold": "0.5"}, ValueError, "`threshold` must be .* got '0.5'"),
        ({"threshold": 0.5, "background_label": 0}, ValueError, "`background_label` must be a name"),
        ({"background_label": "rest"}, ValueError, "give `threshold` or `others` too"),
    ],
)
def test_wrong_arguments_of_a_call_and_of_the_pipeline(
    pipe: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipe(Image.new("RGB", (8, 8)), **arguments)
    with pytest.raises(error, match=message):
        load(pipe.model, processor=pipe.processor, **arguments)


def test_arguments_of_the_pipeline_hold_for_all_calls(pipe: Any, photos: list[Path], expected: Any) -> None:
    fixed = load(pipe.model, processor=pipe.processor, candidate_labels=LABELS, threshold=1.0, background_label="rest")
    path = str(photos[0])
    assert [each["label"] for each in fixed(path, subtask="semantic")] == ["rest"]
    assert comparable(fixed(path, threshold=None, background_label=None)) == expected[0]
    other = fixed(path, candidate_labels=["dog", "tree"], threshold=0.0, background_label=None)
    assert comparable(other) == comparable(pipe(path, candidate_labels=["dog", "tree"]))
    assert [each["label"] for each in fixed(path)] == ["rest"]


def test_a_model_object_finds_its_processor(tiny_folder: Path, pipe: Any, photos: list[Path], expected: Any) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_folder).train()
    parts = {"image_processor": pipe.image_processor, "tokenizer": pipe.tokenizer}
    for given in (
        {},
        {"processor": pipe.processor},
        {"processor": str(tiny_folder)},
        {"tokenizer": pipe.tokenizer},
        {"image_processor": str(tiny_folder), "device": "cpu"},
    ):
        assert comparable(load(model.train(), **given)(photos[0], candidate_labels=LABELS)) == expected[0]
    assert not model.training

    model.config.name_or_path = ""
    assert comparable(load(model, **parts)(photos[0], candidate_labels=LABELS)) == expected[0]
    for name in ("", str(photos[0].parent)):
        model.config.name_or_path = name
        with pytest.raises(ValueError, match="processor=CatSegProcessor.from_pretrained"):
            load(model, tokenizer=pipe.tokenizer)
    with pytest.raises(TypeError, match="`CLIPProcessor` with a `CLIPImageProcessor.*needs a `CatSegProcessor`"):
        load(model, processor=CLIPProcessor(CLIPImageProcessor(), pipe.tokenizer))
    with pytest.raises(ValueError, match="`CatSegForSemanticSegmentation`, got a `CatSegModel`"):
        load(CatSegModel.from_pretrained(tiny_folder), processor=pipe.processor)


def test_copies_and_half_precision(pipe: Any, photos: list[Path], expected: Any) -> None:
    assert comparable(copy.copy(pipe)(photos[0], candidate_labels=LABELS)) == expected[0]
    half = load(copy.deepcopy(pipe.model).to(torch.bfloat16), processor=pipe.processor)
    results = half(photos[0], candidate_labels=LABELS)
    assert [each["score"] for each in results] == pytest.approx([score for _, score, _ in expected[0]], abs=0.05)


def test_saved_and_loaded_it_gives_the_same(pipe: Any, photos: list[Path], expected: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, max_shard_size="5MB")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"} < names
    assert "model.safetensors.index.json" in names and "preprocessor_config.json" not in names
    loaded = load(tmp_path)
    assert comparable(loaded(photos[0], candidate_labels=LABELS)) == expected[0]
    assert loaded.processor.to_dict() == pipe.processor.to_dict()


OTHERS = """
import sys
import numpy as np, torch
from PIL import Image
from transformers import (
    ImageSegmentationPipeline, Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil,
    SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil, SwinConfig, pipeline,
)

photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
torch.manual_seed(0)
sizes = dict(num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3])
segformer = SegformerConfig(
    **sizes, strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=5
)
SegformerForSemanticSegmentation(segformer).save_pretrained("segformer")
SegformerImageProcessorPil(size=dict(height=64, width=64)).save_pretrained("segformer")
backbone = SwinConfig(
    embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
    out_features=["stage1", "stage2", "stage3", "stage4"],
)
mask2former = Mask2FormerConfig(
    backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
    encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=9, num_labels=4,
)
Mask2FormerForUniversalSegmentation(mask2former).save_pretrained("mask2former")
Mask2FormerImageProcessorPil(size=dict(height=64, width=64), ignore_index=255).save_pretrained("mask2former")


def results():
    for name in ("segformer", "mask2former"):
        pipe = pipeline("image-segmentation", model=name)
        assert type(pipe) is ImageSegmentationPipeline
        calls = [dict(unknown_argument=1)]
        if name == "mask2former":
            low = dict(threshold=0.0, mask_threshold=0.0, overlap_mask_area_threshold=0.0)
            calls += [low, dict(low, subtask="instance"), dict(subtask="semantic")]
        for call in calls:
            for each in pipe([photo, photo.rotate(90)], batch_size=2, **call):
                yield [(segment["label"], segment["score"], np.asarray(segment["mask"]).tobytes()) for segment in each]
        again = pipeline("image-segmentation", model=pipe.model, image_processor=pipe.image_processor)
        yield vars(again).keys()
        for arguments in ({}, dict(tokenizer="segformer")):
            try:
                pipeline("image-segmentation", model=pipe.model, **arguments)
                yield "no error"
            except Exception as error:
                yield type(error), str(error)
        name = "without_processor"
        pipe.model.save_pretrained(name)
        try:
            pipeline("image-segmentation", model=name)
            yield "no error"
        except Exception as error:
            yield type(error), str(error)


before = list(results())
assert "catseg_hf" not in sys.modules
import catseg_hf

after = list(results())
assert before == after and "no error" not in before
print([len(each) for each in before if isinstance(each, list)])
"""


def run(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_pipelines_of_other_models_are_as_without_the_package(tmp_path: Path) -> None:
    done = run(OTHERS, tmp_path)
    assert done.returncode == 0, done.stderr
    # How many classes or segments, of two images for each call: most calls find some
    numbers = json.loads(done.stdout)
    assert len(numbers) == 10 and sum(number > 0 for number in numbers) >= 8


def test_the_class_of_other_models_is_that_of_transformers() -> None:
    assert not issubclass(ImageSegmentationPipeline, CatSegImageSegmentationPipeline)
    assert ImageSegmentationPipeline._load_image_processor is True


QUIET = """
import sys
import catseg_hf
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging

logging.disable_progress_bar()
folder, photo = sys.argv[1:]
pipe = pipeline("image-segmentation", model=folder, candidate_labels="cat, grass", batch_size=2)
data = Dataset.from_dict({"image": [photo, photo]})
print([len(list(pipe(inputs))) for inputs in (KeyDataset(data, "image"), data["image"], [photo] * 12)])
pipe(photo, candidate_labels=None)
for number in range(12):
    pipe(photo)
pipeline("image-segmentation", model=pipe.model)
pipe.save_pretrained("saved")
pipe.save_pretrained("saved_with_code", include_code=True)
print("nothing so far", file=sys.stderr)
for number in range(2):
    pipe(photo, candidate_labels="cats", others="own")
    pipe(photo, candidate_labels="cats", threshold=0.5)
    pipe(photo, candidate_labels="cats")
"""


@pytest.mark.slow
def test_only_what_others_were_left_out_is_logged_and_once(
    tiny_folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    done = run(QUIET, tmp_path, str(tiny_folder), str(photos[0]))
    assert (done.returncode, done.stdout) == (0, "[2, 2, 12]\n"), done.stderr
    first, left_out, single = done.stderr.splitlines()
    assert first == "nothing so far"
    assert left_out == "Left out of the others, as they mean the same as a label: 'cat, kitten' (cats)."
    assert single.startswith("With a single label, every pixel gets it.") and 'others="own"' in single


def test_images_by_name_and_labels_of_any_kind_with_an_order(
    pipe: CatSegImageSegmentationPipeline, photos: list[Path]
) -> None:
    expected = comparable(pipe(str(photos[0]), candidate_labels=["cat", "grass"]))
    for labels in (np.array(["cat", "grass"]), {"cat": 0, "grass": 1}.keys(), (name for name in ("cat", "grass"))):
        assert comparable(pipe(images=str(photos[0]), candidate_labels=labels)) == expected
    with pytest.raises(TypeError, match="Give the images once"):
        pipe(str(photos[0]), images=str(photos[0]))
    with pytest.raises(TypeError, match="Give an image"):
        pipe(candidate_labels=["cat"])


@pytest.mark.parametrize("name", ["labels", "text"])
def test_a_wrong_name_for_the_labels_is_answered_with_the_right_one(
    name: str, pipe: CatSegImageSegmentationPipeline, photos: list[Path]
) -> None:
    with pytest.raises(TypeError, match=f"given as `candidate_labels`, not `{name}`"):
        pipe(str(photos[0]), **{name: ["cat"]})
    with pytest.raises(TypeError, match="given as `text`, not `labels`"):
        pipe.processor(images=Image.new("RGB", (8, 8)), labels=["cat"])


def test_names_in_the_output_are_clean(pipe: CatSegImageSegmentationPipeline, photos: list[Path]) -> None:
    results = pipe(
        str(photos[0]), candidate_labels=["men\u2019s room\ufeff"], threshold=1.0, background_label="the\u00ad rest"
    )
    assert {each["label"] for each in results} <= {"men's room", "the rest"}
    assert "the rest" in {each["label"] for each in results}


# ---- others ---------------------------------------------------------------------------------------------------------


def test_others_compete_and_are_not_in_the_output(pipe: Any, photos: list[Path], expected: Any) -> None:
    paths = [str(path) for path in photos]
    for batch_size in (1, 2):
        results = pipe(paths, candidate_labels=LABELS[:1], others=LABELS[1:], batch_size=batch_size)
        for found, all_of_them in zip(results, expected, strict=True):
            assert comparable(found) == [each for each in all_of_them if each[0] == "cat"]
    segment = partial(pipe, paths[0], candidate_labels=LABELS[:1], others=LABELS[1:])
    *cat, rest = segment(background_label="rest")
    assert comparable(cat) == comparable(segment()) and rest["label"] == "rest"
    masks = [np.asarray(each["mask"]) > 0 for each in (*cat, rest)]
    assert np.sum(masks, axis=0).min() == np.sum(masks, axis=0).max() == 1
    others = [each for each in pipe(paths[0], candidate_labels=LABELS) if each["label"] != "cat"]
    areas = [(np.asarray(each["mask"]) > 0).sum() for each in others]
    assert rest["score"] == pytest.approx(np.average([each["score"] for each in others], weights=areas), abs=1e-6)
    assert (
        comparable(segment(others=[]))
        == comparable(segment(others=None))
        == comparable(pipe(paths[0], candidate_labels="cat"))
    )


def test_most_similar_others_of_a_vocabulary(tiny_folder: Path, photos: list[Path], pipe: Any) -> None:
    others = load_vocabulary("pascal_voc_20")
    segment = load(str(tiny_folder), candidate_labels=["cat", "grass"], others="pascal_voc_20")
    results = segment([str(path) for path in photos], batch_size=3)
    words = ["cat", "grass"], [name for name in others if name != "cat"]
    with torch.inference_mode():
        embeds = [pipe.model.get_text_embeds(pipe.processor(text=names)["input_ids"]) for names in words]
        for path, result in zip(photos, results, strict=True):
            inputs = pipe.processor(images=Image.open(path))
            outputs = segment_with_others(pipe.model, torch.cat(embeds), 2, **inputs)
            size = Image.open(path).size[::-1]
            ((classes, _),) = pipe.processor.post_process_best_classes(outputs, [size], num_labels=2)
            masks = {each["label"]: np.asarray(each["mask"]) > 0 for each in result}
            for index, name in enumerate(("cat", "grass")):
                difference = masks.get(name, np.zeros(size, dtype=bool)) != (classes == index).numpy()
                assert difference.mean() < 0.01  # embedded with other words, the last bits differ


def test_words_and_others_are_embedded_once_for_each_call(tiny_folder: Path, photos: list[Path]) -> None:
    pipe = load(str(tiny_folder))
    calls = []
    pipe.model.model.clip.text_model.register_forward_hook(lambda *_: calls.append(1))
    pipe([str(path) for path in photos], candidate_labels="cat", others="own")
    assert len(calls) == 2
