# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Exported graphs give what the model gives, for numbers of images, classes and tokens they were not traced with."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import typer

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from examples import export
from tests.tiny_models import backbone_fields, random_images, random_input_ids, tiny_config, tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model(prompt_templates=["a {}", "the {}"]).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_torch_graphs_work_without_this_package(model_folder: Path, tmp_path: Path) -> None:
    export.main(str(model_folder), tmp_path / "few", format="torch")
    text_graph = torch.export.load(tmp_path / "few" / "text.pt2").module()
    image_graph = torch.export.load(tmp_path / "few" / "image.pt2").module()
    model = CatSegForSemanticSegmentation.from_pretrained(model_folder).eval()
    for batch_size, num_classes, num_tokens in ((1, 1, 16), (4, 5, 7)):
        input_ids = random_input_ids(num_classes, 2, num_tokens)
        pixel_values = random_images(batch_size, 3, 64, 64)
        with torch.no_grad():
            expected = model(pixel_values=pixel_values, input_ids=input_ids).logits
            logits = image_graph(pixel_values, text_graph(input_ids))
        assert torch.allclose(logits, expected, atol=1e-5)


@pytest.mark.slow
def test_many_classes_are_a_graph_of_their_own(model_folder: Path, tmp_path: Path) -> None:
    export.main(str(model_folder), tmp_path, format="torch", many_classes=True)
    graph = torch.export.load(tmp_path / "image_many_classes.pt2").module()
    model = CatSegForSemanticSegmentation.from_pretrained(model_folder).eval()
    text_embeds = F.normalize(random_images(11, 2, 24), dim=-1)
    pixel_values = random_images(3, 3, 64, 64)
    with torch.no_grad():
        expected = model(pixel_values=pixel_values, text_embeds=text_embeds).logits
        logits = graph(pixel_values, text_embeds)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert (logits == -100).any(dim=1).all()  # of 11 classes 6 are kept


@pytest.mark.slow
def test_onnx_graphs_are_checked_and_timed_beside_torch(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason="needs the extra `export`")
    processor = CatSegProcessor.from_pretrained(TINY)
    processor.prompt_templates = ["a {}", "the {}"]
    processor.save_pretrained(model_folder)
    monkeypatch.setattr(export, "CHECKED_CLASSES", (2, 9))
    export.main(str(model_folder), tmp_path, check=True)
    printed = capsys.readouterr().out
    assert printed.count("largest difference") == 2
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["classes", "2", "9"]
    assert all(float(row[-1]) < export.TOLERANCE and float(row[3]) > 0 for row in rows[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "must be onnx or torch"),
        ({"format": "torch", "int8": True}, "is of --format onnx"),
        ({"format": "torch", "check": True}, "is of --format onnx"),
        ({"many_classes": True}, "ONNX takes any number"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        export.main("nowhere", tmp_path, **options)


@pytest.mark.slow
def test_models_with_a_backbone_have_a_third_input(tmp_path: Path) -> None:
    tiny_model(**backbone_fields("resnet")).save_pretrained(tmp_path / "model")
    export.main(str(tmp_path / "model"), tmp_path, format="torch")
    graph = torch.export.load(tmp_path / "image.pt2").module()
    model = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "model").eval()
    inputs = tuple(export.example_inputs(model.config, batch_size=3, num_classes=9).values())
    assert len(inputs) == 3
    with torch.no_grad():
        expected = model(pixel_values=inputs[0], text_embeds=inputs[1], backbone_pixel_values=inputs[2]).logits
        assert torch.allclose(graph(*inputs), expected, atol=1e-5)


def test_a_graph_that_differs_is_refused(tmp_path: Path) -> None:
    class Noise(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values + torch.rand_like(values)

    with pytest.raises(RuntimeError, match="differs from the model"):
        export.save_torch(Noise(), [(torch.zeros(3),), (torch.zeros(3),)], [{}], tmp_path / "noise.pt2")


def test_number_of_classes_of_each_graph() -> None:
    config = tiny_config()
    assert export.class_range(config, many_classes=False) == (1, 5)
    assert export.class_range(config, many_classes=True)[0] == 7
    without_padding = tiny_config(class_padding_length=0)
    assert export.class_range(without_padding, many_classes=False)[0] == 1
    with pytest.raises(ValueError, match="any number of classes"):
        export.class_range(without_padding, many_classes=True)
