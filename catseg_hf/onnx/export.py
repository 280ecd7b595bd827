# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Writes a model as graphs of ONNX, with everything that a [`Segmenter`] needs beside them."""

import copy
import os
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim

from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.layers_catseg import CatSegQuickGELU
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.vocabulary_catseg import end_token_id

from .graphs import ClassGraph, DecoderGraph, ImageGraph, SpatialGraph, TextGraph
from .model import VOCABULARY_FILE, WITH_CLIP


OPSET = 20  # of ONNX: the first with GELU as one operation
MAX_BATCH_SIZE = 4096
MAX_CLASSES = 65536


class Traced(NamedTuple):
    """A module with what it is traced with.

    Args:
        module (`nn.Module`): In evaluation mode.
        inputs (`dict[str, tuple[torch.Tensor, dict[int, Dim]]]`): By name an example and its dynamic dimensions.
        outputs (`list[str]`): Names of the results.
    """

    module: nn.Module
    inputs: dict[str, tuple[torch.Tensor, dict[int, Dim]]]
    outputs: list[str]


class PlainQuickGELU(nn.Module):
    """CLIP's activation as ONNX Runtime knows it."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Of and to any shape."""
        return hidden_states * torch.sigmoid(1.702 * hidden_states)


def export_onnx(
    model: CatSegForSemanticSegmentation,
    processor: CatSegProcessor,
    folder: str | os.PathLike[str],
    *,
    int8: bool = False,
) -> list[Path]:
    """Writes a model as graphs for ONNX Runtime, which take any number of classes.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        processor ([`CatSegProcessor`]): Its processor, which is saved beside the graphs.
        folder (`str` or `os.PathLike`): Where to write; made if needed.
        int8 (`bool`, *optional*, defaults to `False`): Whether CLIP's linear layers compute in int8; not exact.

    Returns:
        `list[Path]`: The graphs.

    Raises:
        ImportError: If the libraries for it are not installed.
        ValueError: If the folder has a model's weights.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError('Exporting needs more libraries: `pip install "catseg-hf[export]"`.') from error
    folder = Path(folder)
    if weights := [*folder.glob("*.safetensors.index.json"), *folder.glob("model*.safetensors")]:
        raise ValueError(f"{folder} has a model's weights ({weights[0].name}): export to a folder of its own.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with torch.no_grad():
        for name, traced in graphs_of(_traceable(model)).items():
            paths.append(folder / f"{name}.onnx")
            if int8 and name in WITH_CLIP:
                _write_int8(traced, paths[-1])
            else:
                _write(traced, paths[-1], external_data=name in WITH_CLIP)
    save_file({"input_ids": model.model.vocabulary.input_ids.cpu().contiguous()}, folder / VOCABULARY_FILE)
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return paths


def graphs_of(model: CatSegForSemanticSegmentation) -> dict[str, Traced]:
    """The graphs of a model by the names of their files.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on the CPU, in float32.

    Returns:
        `dict[str, Traced]`.
    """
    config = model.config
    side = config.image_size // config.patch_size
    layers = range(config.num_hidden_layers)
    batch, classes = Dim("batch", min=1, max=MAX_BATCH_SIZE), Dim("classes", min=1, max=MAX_CLASSES)
    tokens = Dim("tokens", min=2, max=config.clip_config.text_config.max_position_embeddings)
    positions = Dim("positions", min=1, max=side * side)
    spatial = [SpatialGraph(model, i) for i in layers]
    image = ImageGraph(model, spatial).eval()
    images = example_images(config, batch_size=2)
    guidance_names, upsampling_names = [f"guidance_{i}" for i in layers], ["upsampling_0", "upsampling_1"]
    terms = dict(zip(guidance_names + upsampling_names, (each[0] for each in image(*images.values())[1:]), strict=True))
    maps = torch.randn(3, side * side, config.hidden_size)
    graphs = {
        "text": Traced(
            TextGraph(model), {"input_ids": (example_prompts(config, 3, 8), {0: classes, 2: tokens})}, ["text_embeds"]
        ),
        "image": Traced(image, {name: (each, {0: batch}) for name, each in images.items()}, ["image_embeds", *terms]),
    }
    for i, name in enumerate(guidance_names):
        costs = torch.randn(3, len(config.prompt_templates), side, side)
        first = {"maps": (maps, {0: classes})} if i else {"costs": (costs, {0: classes})}
        graphs[f"spatial_{i}"] = Traced(spatial[i], {**first, "guidance": (terms[name], {})}, ["aggregated"])
        inputs = {
            "maps": (maps.transpose(0, 1).contiguous(), {0: positions, 1: classes}),
            "class_embeds": (torch.randn(3, config.clip_config.projection_dim), {0: classes}),
        }
        graphs[f"classes_{i}"] = Traced(ClassGraph(model, i), inputs, ["difference"])
    inputs = {"maps": (maps, {0: classes}), **{name: (terms[name], {}) for name in upsampling_names}}
    return {**graphs, "decoder": Traced(DecoderGraph(model), inputs, ["logits"])}


def example_prompts(config: CatSegConfig, num_classes: int, num_tokens: int) -> torch.Tensor:
    """Prompts `(num_classes, P, num_tokens)` of one token, each with its end behind."""
    shape = (num_classes, len(config.prompt_templates), num_tokens)
    return torch.ones(shape, dtype=torch.long).index_fill(2, torch.tensor([num_tokens - 1]), end_token_id(config))


def example_images(config: CatSegConfig, batch_size: int) -> dict[str, torch.Tensor]:
    """Random inputs of the image graph, in the order of its arguments."""
    images = {"pixel_values": torch.randn(batch_size, 3, config.image_size, config.image_size)}
    if config.backbone_config is not None:
        side = 16 * (config.image_size // config.patch_size)  # the backbone's maps have strides 4, 8 and 16
        images["backbone_pixel_values"] = torch.randn(batch_size, 3, side, side)
    return images


def _traceable(model: CatSegForSemanticSegmentation) -> CatSegForSemanticSegmentation:
    # A copy whose CLIP is made of operations that ONNX Runtime joins.
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    for tower in (model.model.clip.vision_model, model.model.clip.text_model):
        tower.config._attn_implementation = "eager"  # the fused ones are traced as two scalings more
        for layer in tower.encoder.layers:
            if isinstance(layer.mlp.activation_fn, CatSegQuickGELU):
                layer.mlp.activation_fn = PlainQuickGELU()
    return model


def _write(traced: Traced, path: Path, *, external_data: bool) -> None:
    examples, dynamic_shapes = zip(*traced.inputs.values(), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own code
        program = torch.export.export(
            traced.module.eval(), examples, dynamic_shapes=tuple(dynamic_shapes), strict=False
        )
        torch.onnx.export(
            program,
            f=path,
            input_names=list(traced.inputs),
            output_names=traced.outputs,
            dynamic_shapes=tuple(dynamic_shapes),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            external_data=external_data,
        )


def _write_int8(traced: Traced, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder, path.name)
        _write(traced, exact, external_data=True)
        quantize_dynamic(
            exact, path, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, use_external_data_format=True
        )


__all__ = ["export_onnx", "graphs_of"]
