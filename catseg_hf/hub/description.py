# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model or this installation is, for a table."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from huggingface_hub import ModelCard, constants
from safetensors import safe_open
from transformers.utils import cached_file

import catseg_hf
from catseg_hf.cards import CARD_NAME
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.conversion import PUBLISHED
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.onnx import is_exported
from catseg_hf.processing_catseg import CatSegProcessor


def describe_installation() -> Iterator[tuple[str, str]]:
    """Versions, devices and models of this machine.

    Returns:
        An iterator over names and values, for a table.

    Example:

    ```python
    >>> from catseg_hf.hub import describe_installation

    >>> next(name for name, value in describe_installation())
    'catseg-hf'
    ```
    """
    yield "catseg-hf", f"{catseg_hf.__version__}, {os.path.dirname(catseg_hf.__file__)}"
    yield "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "torch", torch.__version__
    yield "transformers", transformers.__version__
    yield "Devices", ", ".join(["cpu", *_accelerators()]) + f" ({torch.get_num_threads()} CPU threads)"
    cache = Path(constants.HF_HOME) / "catseg_hf"
    here = [name for name in PUBLISHED if next(cache.glob(f"converted/{name}-*/config.json"), None)]
    names = [f"{name} (converted)" if name in here else name for name in PUBLISHED]
    yield "Models", ", ".join([*names, "tiny (in the package)"])
    yield "Kept in", str(cache)


def _accelerators() -> Iterator[str]:
    if not torch.accelerator.is_available():
        return
    kind = torch.accelerator.current_accelerator().type
    for index in range(torch.accelerator.device_count()):
        name = f", {torch.cuda.get_device_name(index)}" if kind == "cuda" else ""
        yield f"{kind}:{index}{name}"


def describe_model(name: str) -> Iterator[tuple[str, str]]:
    """What a model is, from its configuration and the headers of its files; no weights are read.

    Args:
        name (`str`): As [`find_model`] returns it.

    Returns:
        An iterator over names and values, for a table.

    Example:

    ```python
    >>> from catseg_hf import TINY
    >>> from catseg_hf.hub import describe_model

    >>> dict(describe_model(TINY))["Guidance"]
    'layers of CLIP'
    ```
    """
    config = CatSegConfig.from_pretrained(name)
    vision, backbone = config.clip_config.vision_config, config.backbone_config
    yield "Model", name
    with torch.device("meta"):
        model = CatSegForSemanticSegmentation(config)
    sizes = ((part, sum(weight.numel() for weight in module.parameters())) for part, module in _parts(model))
    yield "Parameters", ", ".join(f"{size / 1e6:.2f} M {part}" for part, size in sizes)
    if Path(name).is_dir():
        yield "Weights", _weights(Path(name))
    yield (
        "CLIP",
        f"{vision.num_hidden_layers} vision layers of width {vision.hidden_size}, patches of {vision.patch_size} "
        f"pixels, views of {config.image_size} pixels",
    )
    yield "Guidance", "layers of CLIP" if backbone is None else f"a backbone, {backbone.model_type}"
    templates = config.prompt_templates
    yield "Templates", templates[0] if len(templates) == 1 else f"{len(templates)}, such as {templates[0]!r}"
    yield "Synonyms", config.synonyms
    names = list(config.id2label.values())
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    yield "Vocabulary", "none of its own" if config.vocabulary_digest is None else f"{len(names)} classes: {shown}"
    yield "Processor", _processor(name)
    card = _card(name)
    yield "Card", "none" if card is None else f"licence {card.data.license or 'not named'}"


def _parts(model: CatSegForSemanticSegmentation) -> list[tuple[str, torch.nn.Module]]:
    inner = model.model
    parts = [("in all", model), ("CLIP", inner.clip), ("backbone", inner.backbone), ("aggregator", inner.aggregator)]
    return [(name, module) for name, module in [*parts, ("decoder", model.decoder)] if module is not None]


def _weights(folder: Path) -> str:
    if is_exported(folder):
        size = sum(file.stat().st_size for file in folder.glob("*.onnx*")) / 1e6
        return f"{size:.0f} MB in {len([*folder.glob('*.onnx')])} graphs for ONNX Runtime"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return "none"
    kinds = set()
    for file in files:
        with safe_open(file, "pt") as tensors:
            kinds |= {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118  no mapping
    size = sum(file.stat().st_size for file in files) / 1e6
    return f"{size:.0f} MB in {len(files)} file{'s'[: len(files) != 1]} ({', '.join(sorted(kinds))})"


def _processor(name: str) -> str:
    try:
        image_processor = CatSegProcessor.from_pretrained(name).image_processor
    except (OSError, ValueError):
        return "none"
    if not image_processor.do_sliding_window:
        return "the whole image as one view"
    whole = " and the whole image" if image_processor.global_view else ""
    return f"windows of {image_processor.window} pixels, {image_processor.stride} apart{whole}"


def _card(name: str) -> ModelCard | None:
    try:
        return ModelCard.load(cached_file(name, CARD_NAME), ignore_metadata_errors=True)
    except OSError:
        return None


__all__ = ["describe_installation", "describe_model"]
