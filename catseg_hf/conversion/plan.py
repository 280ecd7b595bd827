# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Plans a conversion from keys and shapes alone: recognises the code base, reads the sizes, and checks every key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch

from ..configuration_catseg import CatSegConfig
from ..modeling_catseg import CatSegForSemanticSegmentation
from ..vocabulary_catseg import placeholder_input_ids
from . import cvpr, mmseg, v1
from .errors import ConversionError
from .moves import Move, apply_moves, invert_moves
from .options import ConversionOptions
from .shapes import Shapes


CODE_BASES: dict[str, ModuleType] = {"cvpr": cvpr, "v1": v1, "mmseg": mmseg}
# Patterns of our keys that a checkpoint does not have, with the reason. The values are in `added_tensor`.
ADDED = {
    r"model\.vocabulary\.input_ids": "token ids of the model's own vocabulary",
    r"model\.backbone\.swin\.layernorm\.(weight|bias)": "a norm of Transformers' Swin that a backbone does not use",
    r"model\.backbone\..*\.num_batches_tracked": "a counter that frozen batch norms do not have",
}
SHOWN_KEYS = 8


@dataclass(frozen=True)
class ConversionPlan:
    """What becomes of each tensor of a checkpoint.

    Args:
        code_base (`str`): `"cvpr"`, `"v1"` or `"mmseg"`.
        config (`CatSegConfig`): The model in the checkpoint.
        moves (`list[Move]`): Which source tensors make which of ours.
        dropped (`dict[str, str]`): Source keys without counterpart, with the reason.
        added (`dict[str, str]`): Our keys without source, with the reason.
        shapes (`dict[str, tuple[int, ...]]`): Shapes of all our tensors.
    """

    code_base: str
    config: CatSegConfig
    moves: list[Move]
    dropped: dict[str, str]
    added: dict[str, str]
    shapes: dict[str, tuple[int, ...]]

    @property
    def title(self) -> str:
        """Name of the code base, for people."""
        return CODE_BASES[self.code_base].TITLE


def _reason(key: str, patterns: Mapping[str, str]) -> str | None:
    return next((reason for pattern, reason in patterns.items() if re.fullmatch(pattern, key)), None)


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:SHOWN_KEYS])
    return f"{shown} and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else shown


def recognize(shapes: Shapes) -> str:
    """Which code base a checkpoint comes from.

    Args:
        shapes (`Shapes`): Shapes of its tensors.

    Returns:
        `str`: A key of `CODE_BASES`.

    Raises:
        ConversionError: If it is none of them.
    """
    for name, code_base in CODE_BASES.items():
        if code_base.matches(shapes):
            return name
    titles = ", ".join(code_base.TITLE for code_base in CODE_BASES.values())
    raise ConversionError(
        f"This is no CAT-Seg checkpoint of a known code base ({titles}). Its keys are {_some(sorted(shapes))}."
    )


def plan_conversion(shapes: Mapping[str, tuple[int, ...]], options: ConversionOptions) -> ConversionPlan:
    """Plans a conversion and checks that every key is accounted for and every shape fits. No weights are needed.

    Args:
        shapes (`Mapping[str, tuple[int, ...]]`): Shapes of the checkpoint's tensors, by key.
        options (`ConversionOptions`): What they do not tell.

    Returns:
        `ConversionPlan`.

    Raises:
        ConversionError: If the checkpoint is unknown, or keys are left over or missing, or a shape does not fit.

    Example:

    ```python
    >>> from catseg_hf.conversion import ConversionOptions, plan_conversion

    >>> weights = torch.load("model_base.pth", weights_only=True)["model"]
    >>> plan_conversion({name: tuple(weight.shape) for name, weight in weights.items()}, ConversionOptions()).code_base
    'cvpr'
    ```
    """
    shapes = Shapes(shapes)
    name = recognize(shapes)
    code_base = CODE_BASES[name]
    try:
        config = code_base.model_config(shapes, options)
        with torch.device("meta"):
            model = CatSegForSemanticSegmentation(config)
    except ConversionError:
        raise
    except Exception as error:  # The strict dataclass wraps what a field's or the model's check says.
        reason = str(error.__cause__ or error)
        raise ConversionError(
            f"The sizes of this {code_base.TITLE} checkpoint make no valid model: {reason}"
        ) from error
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    moves = code_base.moves(config)
    targets = {move.target for move in moves}
    added = {key: reason for key in expected if key not in targets and (reason := _reason(key, ADDED))}
    filled = {key: shape for key, shape in expected.items() if key not in added}
    check_tensors(shapes, moves, filled, code_base.DROPPED, code_base.TITLE)
    return ConversionPlan(
        code_base=name,
        config=config,
        moves=moves,
        dropped={key: reason for key in shapes if (reason := _reason(key, code_base.DROPPED))},
        added=added,
        shapes=expected,
    )


def check_tensors(
    shapes: Shapes, moves: list[Move], expected: Mapping[str, tuple[int, ...]], dropped: Mapping[str, str], title: str
) -> None:
    """Checks that a mapping uses up a checkpoint, fills a model, and that every shape fits.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        moves (`list[Move]`): The mapping.
        expected (`Mapping[str, tuple[int, ...]]`): Shapes of the model's tensors that the mapping must fill.
        dropped (`Mapping[str, str]`): Patterns of the checkpoint's keys that may be left over.
        title (`str`): What the checkpoint is, for messages.

    Raises:
        ConversionError: With the keys, if any of it does not hold.
    """
    missing = [key for key in dict.fromkeys(move.source for move in moves) if key not in shapes]
    if missing:
        raise ConversionError(
            f"The checkpoint lacks {len(missing)} tensors that the model needs: {_some(missing)}. It is not complete."
        )
    needed = {move.source for move in moves}
    unknown = [key for key in shapes if key not in needed and _reason(key, dropped) is None]
    if unknown:
        raise ConversionError(
            f"The checkpoint has {len(unknown)} tensors that have no place in a model of {title}: {_some(unknown)}. It "
            "is of another model, or of a version that this package does not know."
        )
    unfit = sorted({move.target for move in moves} ^ expected.keys())
    if unfit:
        raise ConversionError(f"The mapping and the model disagree about {len(unfit)} tensors: {_some(unfit)}.")
    meta = {key: torch.empty(shape, device="meta") for key, shape in expected.items()}
    try:
        fitting = {key: tuple(tensor.shape) for key, tensor in invert_moves(moves, meta).items()}
    except (ConversionError, RuntimeError) as error:
        raise ConversionError(f"The shapes of the checkpoint contradict each other: {error}.") from error
    wrong = [
        f"{key!r} has the shape {list(shapes[key])}, but {list(shape)} is needed"
        for key, shape in fitting.items()
        if shapes[key] != shape
    ]
    if wrong:
        raise ConversionError(f"{len(wrong)} tensors of the checkpoint do not fit: {'; '.join(wrong[:SHOWN_KEYS])}.")


def added_tensor(key: str, plan: ConversionPlan) -> torch.Tensor:
    """The value of one of our tensors that has no source.

    Args:
        key (`str`): One of `plan.added`.
        plan (`ConversionPlan`): The conversion.

    Returns:
        `torch.Tensor`.
    """
    if key == "model.vocabulary.input_ids":
        return placeholder_input_ids(plan.config)
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    return torch.ones(plan.shapes[key]) if key.endswith("weight") else torch.zeros(plan.shapes[key])


def convert_tensors(
    plan: ConversionPlan, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Our state dict, made from a checkpoint's tensors.

    What is only renamed or cut stays a view of its source, so that a file mapped into memory is not copied.

    Args:
        plan (`ConversionPlan`): The conversion.
        tensors (`Mapping[str, torch.Tensor]`): The checkpoint's tensors, by key.
        dtype (`torch.dtype`, *optional*): Of all floating-point tensors.

    Returns:
        `dict[str, torch.Tensor]`: Complete for `load_state_dict(strict=True)`.

    Raises:
        ConversionError: If a weight is not of floating point, or not finite (in `dtype`); the message names it.
    """
    for key in dict.fromkeys(move.source for move in plan.moves):
        is_counter = key.endswith(".num_batches_tracked")  # of batch normalisation, the only whole number
        if key in tensors and not is_counter and not tensors[key].is_floating_point():
            kind = str(tensors[key].dtype).removeprefix("torch.")
            raise ConversionError(
                f"{key!r} holds {kind} numbers, where weights of floating point belong: the checkpoint is damaged, or "
                "quantized, or of another kind of model."
            )
    converted = apply_moves(plan.moves, tensors)
    converted.update({key: added_tensor(key, plan) for key in plan.added})
    state_dict = {
        key: converted[key].to(dtype if converted[key].is_floating_point() else converted[key].dtype).contiguous()
        for key in plan.shapes
    }
    for key, tensor in state_dict.items():
        if not torch.isfinite(tensor).all():
            sources = [move.source for move in plan.moves if move.target == key]
            source = next((name for name in sources if not torch.isfinite(tensors[name].to(tensor.dtype)).all()), key)
            raise ConversionError(
                f"{source!r} holds numbers that are not finite in {str(dtype).removeprefix('torch.')}: "
                "the checkpoint is damaged, its training failed, or its weights are too large for that type."
            )
    return state_dict
