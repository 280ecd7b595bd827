# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Converts a checkpoint file into a folder that `from_pretrained` loads."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer

from ..atomic_files import disk_errors_named
from ..cards import write_model_card
from ..image_processing_catseg import CatSegImageProcessor
from ..modeling_catseg import CatSegForSemanticSegmentation
from ..processing_catseg import CatSegProcessor
from ..vocabularies import load_vocabulary
from .card import card_facts
from .checkpoint import read_checkpoint
from .comparison import checked_difference, fixed_logits
from .errors import ConversionError
from .options import ConversionOptions
from .plan import CODE_BASES, ConversionPlan, convert_tensors, plan_conversion
from .processors import image_processor_options
from .released import describe_released, save_released
from .tokenizer import clip_tokenizer


DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Vocabulary = Sequence[str | Sequence[str]]


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    Args:
        plan (`ConversionPlan`): What became of each tensor.
        vocabulary (`str` or `None`): Name of the default vocabulary, `None` without.
        num_labels (`int`): Its number of classes, 0 without.
        logits_difference (`float`): Largest difference between the logits of the model in memory and of the written
            folder, on a fixed input.
    """

    plan: ConversionPlan
    vocabulary: str | None
    num_labels: int
    logits_difference: float

    def __str__(self) -> str:
        plan = self.plan
        vision = plan.config.clip_config.vision_config
        backbone = plan.config.backbone_config
        guidance = f"CLIP layers {list(plan.config.guidance_layers)}" if backbone is None else backbone.model_type
        sources = {move.source for move in plan.moves}
        lines = [
            f"Found: {plan.title}",
            f"  CLIP: {vision.num_hidden_layers} vision layers of width {vision.hidden_size}, patches of "
            f"{vision.patch_size}, {vision.hidden_act}; views of {plan.config.image_size} pixels",
            f"  guidance: {guidance}; {len(plan.config.prompt_templates)} prompt template(s); "
            f"{plan.config.num_hidden_layers} aggregator layers of width {plan.config.hidden_size}",
            f"Mapped: {len(sources)} tensors to {len({move.target for move in plan.moves})}, none left over",
        ]
        for title, keys in (("Dropped", plan.dropped), ("Added", plan.added)):
            for reason in dict.fromkeys(keys.values()):
                group = [key for key, its_reason in keys.items() if its_reason == reason]
                example = group[0] if len(group) == 1 else f"{group[0]}, ..."
                lines.append(f"{title}: {len(group)} ({reason}): {example}")
        labels = f"{self.vocabulary}, {self.num_labels} classes" if self.vocabulary else "none"
        lines.append(f"Vocabulary: {labels}")
        lines.append(f"Reloaded: logits differ by at most {self.logits_difference:.1e}")
        return "\n".join(lines)


def check_new(path: str | os.PathLike) -> Path:
    """Refuses a folder that would be overwritten.

    Args:
        path (`str` or `os.PathLike`): A folder to make.

    Returns:
        `Path`: The same.

    Raises:
        ConversionError: If it is a file or a folder with content.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConversionError(f"{path} exists already: give a new folder, or remove it first.")
    return path


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder to write into, which appears under its name only when the block ends without an error.

    Args:
        path (`str` or `os.PathLike`): The folder to make; it must not exist, or be empty.

    Yields:
        `Path`: A temporary folder beside it.

    Raises:
        ConversionError: If `path` is a file or a folder with content, or cannot be made.
        OSError: If the disk is full; the message names `path`, where nothing is then.
    """
    path = check_new(path)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
    except OSError as error:
        raise ConversionError(f"The folder {path} cannot be made: {error.strerror}.") from error
    try:
        # Temporary folders are private; this one is going to be an ordinary one.
        temporary.chmod(0o777 & ~_umask())
        with disk_errors_named(path, "Nothing was written there: make room, and convert again."):
            yield temporary
            if path.exists():
                path.rmdir()  # It is empty.
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def load_tokenizer(source: str | os.PathLike | None, vocab_size: int) -> CLIPTokenizer:
    """The tokenizer of a model.

    Args:
        source (`str` or `os.PathLike`, *optional*): Folder or Hub name of a CLIP model; by default CLIP's own, which is
            part of this package.
        vocab_size (`int`): Number of token embeddings of the model, which the tokenizer must fit.

    Returns:
        `CLIPTokenizer`.

    Raises:
        ConversionError: If it cannot be loaded or does not fit.
    """
    try:
        tokenizer = clip_tokenizer() if source is None else CLIPTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ConversionError(f"The tokenizer {source} cannot be loaded: {error}") from error
    if len(tokenizer) != vocab_size:
        raise ConversionError(
            f"The tokenizer has {len(tokenizer)} tokens, but the checkpoint {vocab_size} token embeddings: give the "
            "folder of its own tokenizer with `tokenizer`, or `tokenizer=False` to write the model without."
        )
    return tokenizer


def convert_checkpoint(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    options: ConversionOptions | None = None,
    vocabulary: str | Vocabulary | bool | None = None,
    tokenizer: str | os.PathLike | bool | None = None,
    dtype: str = "float32",
    released: str | None = None,
) -> ConversionReport:
    """Converts a CAT-Seg checkpoint of any of the three code bases into a folder that `from_pretrained` loads.

    The folder has the model, the processor with its tokenizer, and a model card; it appears only when everything
    succeeded, which includes loading it again and comparing logits.

    Args:
        checkpoint (`str` or `os.PathLike`): A `.pth` or `.safetensors` file. Nothing in it is executed.
        output (`str` or `os.PathLike`): The folder to make.
        options (`ConversionOptions`, *optional*): What the tensors do not tell. By default as in the released models.
        vocabulary (`str`, `list` or `False`, *optional*):
            The model's own vocabulary: a name that [`load_vocabulary`] knows, a list of class names (a list of names
            is a class with synonyms), or `False` for none. By default what the code base's released models were
            trained on, `"coco_stuff_171"` or (MMSegmentation) `"ade20k_150"`, or what the checkpoint itself names.
        tokenizer (`str`, `os.PathLike` or `False`, *optional*):
            Folder or Hub name of the tokenizer; by default CLIP's, which is part of this package. `False`: none, for a
            CLIP with a vocabulary of its own; then there is no default vocabulary either.
        dtype (`str`, *optional*, defaults to `"float32"`): Of the weights: `"float32"`, `"float16"` or `"bfloat16"`.
        released (`str`, *optional*):
            Which released checkpoint the file is, as for [`load_original`]: the folder then says so, and an evaluation
            has the published figures beside the measured ones.

    Returns:
        `ConversionReport`: Print it to see what was found.

    Raises:
        ConversionError: If anything is wrong with the file or the arguments; nothing is left behind then.
        OSError: If the disk is full; nothing is left behind then either.

    Example:

    ```python
    >>> from catseg_hf.conversion import convert_checkpoint

    >>> print(convert_checkpoint("model_base.pth", "catseg-base"))
    Found: CVPR 2024 (official code)
      CLIP: ...
    Reloaded: logits differ by at most ...
    ```
    """
    if dtype not in DTYPES:
        raise ConversionError(f"`dtype={dtype!r}` is unknown: use one of {', '.join(DTYPES)}.")
    check_new(output)
    tensors, meta = read_checkpoint(checkpoint)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    plan = plan_conversion(shapes, options or ConversionOptions())
    with new_folder(output) as folder:
        model = build_model(plan, tensors, DTYPES[dtype])
        del tensors
        name, labels = _labels(vocabulary, plan, meta)
        image_processor = CatSegImageProcessor(**image_processor_options(plan.code_base, plan.config))
        if tokenizer is False:
            name, labels, processor = None, [], None
            image_processor.save_pretrained(folder)
        else:
            text_config = plan.config.clip_config.text_config
            processor = CatSegProcessor(
                image_processor=image_processor,
                tokenizer=load_tokenizer(None if tokenizer is True else tokenizer, text_config.vocab_size),
                prompt_templates=list(plan.config.prompt_templates),
                synonyms=plan.config.synonyms,
            )
            processor.save_pretrained(folder)
            if labels:
                model.set_vocabulary(labels, processor(text=labels)["input_ids"])
        logits = fixed_logits(model)
        model.save_pretrained(folder)
        write_model_card(folder, model, processor, **card_facts(plan, Path(checkpoint).name))
        if released is not None:
            save_released(describe_released(released, checkpoint, model), folder)
        del model  # Its memory goes before the folder is loaded.
        difference = checked_difference(logits, fixed_logits(CatSegForSemanticSegmentation.from_pretrained(folder)))
    return ConversionReport(plan=plan, vocabulary=name, num_labels=len(labels), logits_difference=difference)


def build_model(
    plan: ConversionPlan, tensors: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32
) -> CatSegForSemanticSegmentation:
    """The model of a checkpoint's tensors.

    Args:
        plan (`ConversionPlan`): What becomes of each tensor.
        tensors (`dict[str, torch.Tensor]`): The checkpoint.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): Of the weights.

    Returns:
        [`CatSegForSemanticSegmentation`]
    """
    return CatSegForSemanticSegmentation.from_pretrained(
        None, config=plan.config, state_dict=convert_tensors(plan, tensors, dtype), dtype=dtype
    )


def _labels(
    vocabulary: str | Vocabulary | bool | None, plan: ConversionPlan, meta: dict[str, Any]
) -> tuple[str | None, list[str | list[str]]]:
    if vocabulary is False:
        return None, []
    if vocabulary is None or vocabulary is True:
        labels = _trained_labels(meta)
        if labels is not None:
            return "as named in the checkpoint", labels
        vocabulary = CODE_BASES[plan.code_base].VOCABULARY
    if not isinstance(vocabulary, str):
        return "of its own", [label if isinstance(label, str) else list(label) for label in vocabulary]
    try:
        return vocabulary, load_vocabulary(vocabulary)
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _trained_labels(meta: dict[str, Any]) -> list[str | list[str]] | None:
    """Class names of the data set that MMEngine notes in its checkpoints."""
    dataset = meta.get("dataset_meta")
    names = dataset.get("classes") if isinstance(dataset, dict) else None
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) and name.strip() for name in names):
        return list(names) if len(set(names)) == len(names) else None
    return None
