# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""An exported folder in the place of a model: in Python and at the command line, with ONNX Runtime."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import TINY, CatSegProcessor, Segmenter
from catseg_hf.app.page_model import PageModel
from catseg_hf.hub import describe_model, load_model_and_processor
from catseg_hf.onnx import OnnxCatSeg, is_exported
from catseg_hf.onnx.export import OPSET, export_onnx
from catseg_hf.scenes import draw_scene
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.served_model import ServedModel
from catseg_hf.service.settings import ServiceSettings
from tests.onnx.test_graphs import VARIANTS
from tests.tiny_models import random_images, random_input_ids, save_short_catseg_tiny, tiny_model


onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
pytest.importorskip("onnxruntime", reason="needs the extra `export`")
pytest.importorskip("onnxscript", reason="needs the extra `export`")
pytestmark = pytest.mark.slow  # a model is exported, which takes half a minute
LABELS = ["something red", ["star", "moon"], "ground"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    save_short_catseg_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def exact(small: Path) -> Segmenter:
    return Segmenter.from_pretrained(small, LABELS, device="cpu")


@pytest.fixture(scope="module")
def folder(exact: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    paths = export_onnx(exact.model, exact.processor, folder)
    assert [path.stem for path in paths] == [
        "text", "image", "spatial_0", "classes_0", "decoder",
    ]  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(folder, LABELS)


def test_files_are_those_of_the_documents(folder: Path) -> None:
    image = onnx.load(folder / "image.onnx", load_external_data=False)
    assert [(each.domain, each.version) for each in image.opset_import] == [("", OPSET)]
    assert [each.name for each in image.graph.output] == [
        "image_embeds", "guidance_0", "upsampling_0", "upsampling_1",
    ]  # fmt: skip
    classes = onnx.load(folder / "classes_0.onnx")
    shapes = {
        each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in classes.graph.input
    }
    assert shapes == {"maps": ["positions", "classes", 32], "class_embeds": ["classes", 128]}
    assert (folder / "image.onnx.data").is_file() and not (folder / "decoder.onnx.data").exists()
    assert not list(folder.glob("*model*"))


def test_it_is_loaded_without_weights(exported: Segmenter) -> None:
    assert isinstance(exported.model, OnnxCatSeg)
    assert exported.model.device.type == "cpu"


@pytest.mark.parametrize("num_classes", [1, 2, 20])
def test_logits_are_those_of_the_model(num_classes: int, exact: Segmenter, exported: Segmenter) -> None:
    inputs = exact.processor.with_views("sliding")(images=draw_scene(1).image)
    assert inputs["pixel_values"].dim() == 5
    text_embeds = exact.model.resolve_text_embeds()[:num_classes].detach()
    # In float64: this model's logits go up to 65, where torch's own float32 is 6e-5 off.
    doubles = {**inputs, "pixel_values": inputs["pixel_values"].double(), "text_embeds": text_embeds.double()}
    with torch.no_grad():
        expected = copy.deepcopy(exact.model).double()(**doubles)
    outputs = exported.model(**inputs, text_embeds=text_embeds)
    assert (outputs.logits - expected.logits).abs().max() < 1e-4
    assert torch.equal(outputs.view_boxes, expected.view_boxes)


def test_embeddings_are_those_of_the_model(exact: Segmenter, exported: Segmenter) -> None:
    torch.testing.assert_close(exported.text_embeds, exact.text_embeds, atol=1e-5, rtol=0)
    own = exported.with_labels()
    torch.testing.assert_close(own.text_embeds, exact.model.resolve_text_embeds().detach(), atol=1e-5, rtol=0)
    assert own.labels == list(exact.model.config.id2label.values())


@pytest.mark.parametrize("options", [{}, {"others": "own", "background": "rest"}, {"threshold": 0.6}])
def test_segmentations_are_those_of_the_model(options: dict, exact: Segmenter, exported: Segmenter) -> None:
    scene = draw_scene(7).image
    first, second = (each.with_labels(LABELS[:2], **options)(scene) for each in (exact, exported))
    assert (first.class_ids == second.class_ids).mean() > 0.999
    np.testing.assert_allclose(second.scores, first.scores, atol=1e-4)
    assert (second.labels, second.others) == (first.labels, first.others)


def test_the_service_and_the_page_take_it(folder: Path, small: Path, tmp_path: Path) -> None:
    draw_scene(7, 128).image.save(tmp_path / "scene.png")
    photo = (tmp_path / "scene.png").read_bytes()
    served, shown, digests = [], [], []
    for model in (small, folder):
        service = ServedModel(ServiceSettings(model=str(model)))
        requests = [SegmentRequest(photo, [label, "ground"], None, None, "json", "own") for label in ("star", "moon")]
        served.append(service.segment([service.prepare(each) for each in requests]))
        digests.append(service.describe()["weights"])
        shown.append(PageModel(str(model)).segment(str(tmp_path / "scene.png"), LABELS).segmentation)
    for first, second in (*zip(*served, strict=True), shown):
        assert (first.class_ids == second.class_ids).mean() > 0.999
    # Two exported models that differ in a weight are told apart.
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    with (changed / "image.onnx.data").open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    digests.append(ServedModel(ServiceSettings(model=str(changed))).describe()["weights"])
    assert len(set(digests)) == 3


def test_info_says_what_it_is(folder: Path) -> None:
    assert re.fullmatch(r"\d+ MB in 5 graphs for ONNX Runtime", dict(describe_model(str(folder)))["Weights"])


@pytest.mark.parametrize("native", [(), ("--native", "--tile", 150)])
def test_the_command_takes_it(native: tuple, folder: Path, small: Path, tmp_path: Path, catseg: Callable) -> None:
    draw_scene(7).image.save(tmp_path / "scene.png")
    label_maps = []
    for model in (small, folder):
        words = ("scene.png", "--labels", "something red, ground", "--format", "label-map", "--output", "ids.tif")
        words = words if native else (*words[:-1], "ids.png")
        code, _, errors = catseg("segment", *words, "--model", model, *native)
        assert code == 0, errors
        label_maps.append(np.asarray(Image.open(tmp_path / words[-1])))
    assert (label_maps[0] == label_maps[1]).mean() > 0.999


@pytest.mark.parametrize("variant", ["templates", "softmax", "stem", "v1", "mmseg"])
def test_all_variants_are_computed(variant: str, tmp_path: Path) -> None:
    model = tiny_model(**VARIANTS[variant])
    export_onnx(model, CatSegProcessor.from_pretrained(TINY), tmp_path)
    exported = OnnxCatSeg.from_pretrained(tmp_path)
    inputs = {"pixel_values": random_images(1, 2, 3, 64, 64)}
    if model.config.backbone_config is not None:
        inputs["backbone_pixel_values"] = random_images(1, 2, 3, 128, 128)
    for num_classes in (1, 5, 9):  # fewer and more than the padding length
        input_ids = torch.stack([random_input_ids(num_classes, 7)] * len(model.config.prompt_templates), dim=1)
        with torch.no_grad():
            expected = model(**inputs, input_ids=input_ids).logits
        torch.testing.assert_close(exported(**inputs, input_ids=input_ids).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"device": "meta"}, {"dtype": "bfloat16"}, {"compiles": True}])
def test_what_it_cannot_is_refused(options: dict, folder: Path) -> None:
    with pytest.raises(ValueError, match="on the CPU as it was exported: leave out device, dtype and compiling"):
        Segmenter.from_pretrained(folder, LABELS, **options)


def test_who_needs_weights_is_told(folder: Path) -> None:
    with pytest.raises(ValueError, match="is an exported model, which ONNX Runtime computes, and has no weights"):
        load_model_and_processor(str(folder))


def test_a_folder_with_weights_is_not_overwritten(exact: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"has a model's weights \(model.safetensors\): export to a folder of its own"):
        export_onnx(exact.model, exact.processor, tmp_path)


def test_damaged_folders_are_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "classes_0.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="lacks classes_0.onnx: export it again"):
        OnnxCatSeg.from_pretrained(copy)
    (copy / "classes_0.onnx").write_bytes(b"\x08\x08 nothing")
    with pytest.raises(ValueError, match="classes_0.onnx cannot be loaded by ONNX Runtime: export it again"):
        OnnxCatSeg.from_pretrained(copy)
    assert is_exported(copy) and not is_exported(TINY)


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven graphs are traced
def test_int8_decides_nearly_all_pixels_alike(tmp_path: Path) -> None:
    exact = Segmenter.from_pretrained(TINY, device="cpu")
    export_onnx(exact.model, exact.processor, tmp_path, int8=True)
    for name in ("text", "image"):
        operations = {
            node.op_type for node in onnx.load(tmp_path / f"{name}.onnx", load_external_data=False).graph.node
        }
        assert {"DynamicQuantizeLinear", "MatMulInteger"} <= operations
    quantized = Segmenter.from_pretrained(tmp_path)
    agreements = []
    for seed in range(10):
        scene = draw_scene(seed)
        labels = [*scene.names, "ground"]
        first, second = (each.with_labels(labels)(scene.image).class_ids for each in (exact, quantized))
        agreements.append((first == second).mean())
    assert np.mean(agreements) >= 0.99
