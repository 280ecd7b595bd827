# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What is traced for ONNX, and the loop over it, compute what the model computes, in all its variants."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.onnx import OnnxCatSeg
from catseg_hf.onnx.export import graphs_of
from tests.tiny_models import backbone_fields, random_images, random_input_ids, tiny_model


def untraced(model: CatSegForSemanticSegmentation) -> OnnxCatSeg:
    """The exported model, with the modules in the place of the graphs that are made of them."""
    with torch.no_grad():
        modules = {name: traced.module for name, traced in graphs_of(model).items()}

    def computed(module: torch.nn.Module) -> Any:
        @torch.no_grad()  # in each thread that computes a chunk
        def compute(*inputs: torch.Tensor) -> list[torch.Tensor]:
            outputs = module(*inputs)
            return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)

        return compute

    graphs = {name: computed(module) for name, module in modules.items()}
    return OnnxCatSeg(model.config, graphs, model.model.vocabulary.input_ids)


VARIANTS = {
    "cvpr": {},
    "templates": {"prompt_templates": ["a {}", "the {}"], "dense_residual": "patch"},
    "one chunk": {"class_chunk_size": 1, "window_size": 5},
    "windows larger than maps": {"window_size": 12},
    "softmax": {"class_attention": "softmax"},
    "v1": backbone_fields("resnet"),
    "mmseg": {**backbone_fields("swin"), "inference_pooling_size": [2, 2], "class_mlp_inner_residual": True},
    "stem": {"stem_channels": [8, 16, 16], "num_hidden_layers": 3},
    "early rejection": {"early_rejection": 0.1},
}


@pytest.mark.parametrize("num_classes", [1, 5, 6, 9])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_the_model(variant: str, num_classes: int) -> None:
    model = tiny_model(**VARIANTS[variant])
    exported = untraced(model)
    inputs = {"pixel_values": random_images(2, 2, 3, 64, 64)}
    if model.config.backbone_config is not None:
        inputs["backbone_pixel_values"] = random_images(2, 2, 3, 128, 128)
    text_embeds = F.normalize(random_images(num_classes, len(model.config.prompt_templates), 24), dim=-1)
    with torch.no_grad():
        expected = model(**inputs, text_embeds=text_embeds).logits
    torch.testing.assert_close(exported(**inputs, text_embeds=text_embeds).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("synonyms", ["first", "mean", "max"])
def test_synonyms_are_merged_as_by_the_model(synonyms: str) -> None:
    model = tiny_model(synonyms=synonyms)
    exported = untraced(model)
    input_ids = torch.stack([random_input_ids(4, 1, 7), random_input_ids(4, 1, 7, seed=1)], dim=2)
    input_ids[1, :, 1] = 0  # no second synonym
    pixel_values = random_images(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(exported.get_text_embeds(input_ids), model.get_text_embeds(input_ids))
        expected = model(pixel_values=pixel_values, input_ids=input_ids).logits
    logits = exported(pixel_values=pixel_values, input_ids=input_ids).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_images_are_embedded_once() -> None:
    model = tiny_model()
    exported = untraced(model)
    pixel_values = random_images(2, 10, 3, 64, 64)  # more views than go through CLIP together
    text_embeds = exported.get_text_embeds(random_input_ids(3, 7))
    image_embeds = exported.get_image_embeds(pixel_values)
    assert all(each.shape[:2] == (2, 10) for each in image_embeds)
    expected = exported(pixel_values=pixel_values, text_embeds=text_embeds).logits
    assert torch.equal(exported(image_embeds=image_embeds, text_embeds=text_embeds).logits, expected)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 3, 72, 64)], r"takes \(B, 3, 64, 64\), or the same with views, got \[\(1, 3, 72, 64\)\]"),
        ([(3, 64, 64)], "got"),
        ([(1, 3, 64, 64), (1, 3, 128, 128)], "use the processor in its folder"),
    ],
)
def test_images_of_other_sizes_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    exported = untraced(tiny_model())
    with pytest.raises(ValueError, match=message):
        exported.get_image_embeds(*(random_images(*shape) for shape in shapes))


def test_text_embeds_of_other_models_are_refused() -> None:
    exported = untraced(tiny_model())
    with pytest.raises(ValueError, match=r"`text_embeds` must have shape \(T, 1, 24\)"):
        exported(pixel_values=random_images(1, 3, 64, 64), text_embeds=random_images(3, 1, 23))
