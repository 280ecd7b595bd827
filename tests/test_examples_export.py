# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Exported graphs give what the model gives, for numbers of images, classes and tokens they were not traced with."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from catseg_hf import CatSegForSemanticSegmentation
from examples import export
from tests.tiny_models import backbone_fields, random_images, random_input_ids, tiny_config, tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model(prompt_templates=["a {}", "the {}"]).save_pretrained(folder)
    return folder


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
def test_onnx_graphs_are_checked(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    export.main(str(model_folder), tmp_path, format="onnx")
    assert capsys.readouterr().out.count("largest difference") == 2
    opsets = onnx.load(tmp_path / "image.onnx", load_external_data=False).opset_import
    assert [(each.domain, each.version) for each in opsets] == [("", export.OPSET)]
    session = onnxruntime.InferenceSession(tmp_path / "image.onnx")
    assert [(each.name, each.shape) for each in session.get_inputs()] == [
        ("pixel_values", ["batch", 3, 64, 64]),
        ("text_embeds", ["classes", 2, 24]),
    ]
    assert [each.name for each in session.get_outputs()] == ["logits"]


@pytest.mark.slow
def test_models_with_a_backbone_have_a_third_input(tmp_path: Path) -> None:
    tiny_model(**backbone_fields("resnet")).save_pretrained(tmp_path / "model")
    export.main(str(tmp_path / "model"), tmp_path, format="torch")
    graph = torch.export.load(tmp_path / "image.pt2").module()
    model = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "model").eval()
    inputs = export.example_images(model.config, batch_size=3, num_classes=9)
    assert len(inputs) == 3
    with torch.no_grad():
        expected = model(pixel_values=inputs[0], text_embeds=inputs[1], backbone_pixel_values=inputs[2]).logits
        assert torch.allclose(graph(*inputs), expected, atol=1e-5)


def test_a_graph_that_differs_is_refused(tmp_path: Path) -> None:
    class Noise(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values + torch.rand_like(values)

    with pytest.raises(RuntimeError, match="differs from the model"):
        export.save_and_check(
            Noise(), ["values", "result"], [(torch.zeros(3),), (torch.zeros(3),)], [{}], tmp_path / "noise.pt2"
        )


def test_number_of_classes_of_each_graph() -> None:
    config = tiny_config()
    assert export.class_range(config, many_classes=False) == (1, 5)
    assert export.class_range(config, many_classes=True)[0] == 7
    without_padding = tiny_config(class_padding_length=0)
    assert export.class_range(without_padding, many_classes=False)[0] == 1
    with pytest.raises(ValueError, match="any number of classes"):
        export.class_range(without_padding, many_classes=True)
