# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Models by the names that the command line takes: finding, describing and publishing them."""

import json
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants
from safetensors import safe_open
from transformers.utils import cached_file

import catseg_hf
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.conversion import PUBLISHED, ConversionError, load_original
from catseg_hf.model_card import CARD_NAME, create_model_card
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor


ADVICE = "give a folder written by `catseg convert`, or `owner/name` of a model on the Hub."
HUB_NAME = r"[\w-][\w.-]*/[\w.-]+"
# What `from_pretrained` may read; a folder's other files, such as those of a training, stay where they are.
PUSHED_FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "*processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "*_catseg.py",
    CARD_NAME,
)


def find_model(name: str) -> str:
    """What `from_pretrained` loads; refuses a model that cannot be had before anything large is loaded.

    Args:
        name (`str`): A folder, a name on the Hub (`owner/name`), that of a published checkpoint, or `"tiny"`.

    Returns:
        `str`: A folder or a name on the Hub.

    Raises:
        ValueError: If there is no such folder, no model in it, or nothing of that name to be had.
    """
    if Path(name).is_dir():
        if not Path(name, "config.json").is_file():
            raise ValueError(f"--model {name} has no config.json: {ADVICE}")
    elif name == "tiny":
        return catseg_hf.TINY
    elif name in PUBLISHED:
        try:
            return str(load_original(name))
        except ConversionError as error:
            raise ValueError(f"--model {name}: {error} Or {ADVICE}") from error
    elif not re.fullmatch(HUB_NAME, name):
        raise ValueError(f"--model {name} does not exist: use one of {', '.join([*PUBLISHED, 'tiny'])}, or {ADVICE}")
    try:
        settings = json.loads(Path(cached_file(name, "config.json")).read_text(encoding="utf-8"))
    except OSError as error:
        offline = " while HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
        raise ValueError(
            f"--model {name} is no folder here, and cannot be had from the Hub{offline}: {ADVICE}"
        ) from error
    # Transformers would load the CLIP inside another model and make the rest up.
    if settings.get("model_type") != CatSegConfig.model_type:
        raise ValueError(f"--model {name} is no CAT-Seg, but a {settings.get('model_type')!r}: {ADVICE}")
    return name


def describe_installation() -> Iterator[tuple[str, str]]:
    """Versions, devices and models of this machine.

    Returns:
        An iterator over names and values, for a table.
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


def push_folder(
    folder: Path, repo_id: str, private: bool = False, revision: str | None = None, commit_message: str | None = None
) -> str:
    """Uploads a model folder as it is: model, processor, tokenizer and card, in one commit.

    The card in the folder goes along; without one, it is made from the model. A card that is on the Hub already then
    stays.

    Args:
        folder (`Path`): The folder, written by `catseg convert`, a training or `save_pretrained`.
        repo_id (`str`): Where to, `owner/name`; made if it does not exist.
        private (`bool`, *optional*, defaults to `False`): Whether only you see it, if it is made.
        revision (`str`, *optional*): A branch; made if it does not exist.
        commit_message (`str`, *optional*): What the commit is called.

    Returns:
        `str`: Address of the commit.

    Raises:
        ValueError: If the folder does not hold a whole model, or `repo_id` is no `owner/name`.
        OSError: If the Hub cannot be reached or refuses.
    """
    if not re.fullmatch(HUB_NAME, repo_id):
        raise ValueError(f"{repo_id!r} is no name on the Hub: give owner/name.")
    if not any(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder} holds no model: {ADVICE}")
    config = CatSegConfig.from_pretrained(find_model(str(folder)))
    try:
        processor = CatSegProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no processor: save it there with `processor.save_pretrained`.") from error
    files = sorted({path.name: path for pattern in PUSHED_FILES for path in folder.glob(pattern)}.items())

    api = HfApi()
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    operations = [CommitOperationAdd(name, path) for name, path in files]
    if not (folder / CARD_NAME).is_file() and not api.file_exists(repo_id, CARD_NAME, revision=revision):
        with torch.device("meta"):
            model = CatSegForSemanticSegmentation(config)
        card = create_model_card(model, processor, name=repo_id)
        operations.append(CommitOperationAdd(CARD_NAME, str(card).encode()))
    message = commit_message or "Upload CAT-Seg with its processor and card"
    return api.create_commit(repo_id, operations, commit_message=message, revision=revision).commit_url


__all__ = ["describe_installation", "describe_model", "find_model", "push_folder"]
