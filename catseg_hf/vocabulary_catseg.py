# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model's own vocabulary: token ids of the classes that it segments where no text is given, saved with it."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from .configuration_catseg import CatSegConfig, vocabulary_digest


class CatSegVocabulary(nn.Module):
    """Token ids of the model's own classes; a module, since `device_map="auto"` forgets buffers of larger modules.

    Args:
        config (`CatSegConfig`): With `vocabulary_shape`, or `num_labels` for a placeholder.
    """

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.register_buffer("input_ids", placeholder_input_ids(config))


def placeholder_input_ids(config: CatSegConfig) -> torch.Tensor:
    """Token ids of a model without a vocabulary of its own: a start, one arbitrary token and an end per prompt.

    Args:
        config (`CatSegConfig`): With `vocabulary_shape` where token ids will be loaded, else `num_labels` counts.

    Returns:
        `torch.IntTensor` of shape `config.vocabulary_shape` or `(num_labels, P, 3)`.
    """
    shape = tuple(config.vocabulary_shape or (config.num_labels, len(config.prompt_templates), 3))
    text_config = config.clip_config.text_config
    last = text_config.vocab_size - 1
    input_ids = torch.zeros(shape, dtype=torch.int32)
    input_ids[..., 0] = min(text_config.bos_token_id or 0, last)
    prompts = torch.arange(math.prod(shape[:-1]), dtype=torch.int32).view(shape[:-1])
    input_ids[..., 1] = prompts % max(1, last - 1)
    input_ids[..., 2:] = min(end_token_id(config), last)
    return input_ids


def end_token_id(config: CatSegConfig) -> int:
    """The token whose embedding stands for the whole prompt."""
    end = config.clip_config.text_config.eos_token_id
    end = end[0] if isinstance(end, (list, tuple)) else end
    # Transformers writes 2 for OpenAI's first conversions, where it means the highest id; so does an id out of range.
    vocab_size = config.clip_config.text_config.vocab_size
    return vocab_size - 1 if end is None or end == 2 or end >= vocab_size else end


def check_own_vocabulary(config: CatSegConfig) -> None:
    """Refuses to segment the old classes under new names.

    Args:
        config (`CatSegConfig`): Whose `id2label` and `prompt_templates` the token ids must be of.

    Raises:
        ValueError: If they are of other names or templates.
    """
    names = list(config.id2label.values())
    if config.vocabulary_digest is None:
        fits = names == [f"LABEL_{index}" for index in range(len(names))]
    else:
        fits = config.vocabulary_digest == vocabulary_digest(names, config.prompt_templates)
    if not fits:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise ValueError(
            f"The model has no token ids for the classes of `config.id2label` ({shown}) with `config."
            "prompt_templates`. Call `model.set_vocabulary(labels, input_ids)` with the `input_ids` that the "
            "processor makes of these labels, or give `input_ids` or `text_embeds` to `forward`."
        )


def check_names(synonyms: Sequence[Sequence[str]], input_ids: torch.Tensor) -> list[str]:
    """Refuses class names that cannot be a model's vocabulary.

    Args:
        synonyms (`Sequence[Sequence[str]]`): The names of each class.
        input_ids (`torch.LongTensor` of shape `(T, P, L)` or `(T, P, S, L)`): Their prompts.

    Returns:
        `list[str]`: What each class is called: its names, joined by commas.

    Raises:
        ValueError: If there are none, some are empty or equal, or their number is not that of `input_ids`.
    """
    names = [", ".join(label) for label in synonyms]
    if not names or any(not name.strip() for name in names):
        raise ValueError(f"`labels` must be class names, at least one and none of them empty, got {names!r}.")
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`labels` names {repeated!r} twice: every class needs a name of its own.")
    if len(input_ids) != len(names):
        raise ValueError(
            f"{len(names)} `labels` but `input_ids` of {len(input_ids)} classes (shape {tuple(input_ids.shape)}): "
            "make the token ids from these labels."
        )
    return names


def check_text_embeds(text_embeds: torch.Tensor, config: CatSegConfig) -> None:
    """Refuses text embeddings that are not of a model's shapes.

    Args:
        text_embeds (`torch.FloatTensor`): As for [`CatSegModel.forward`].
        config (`CatSegConfig`): The model's.

    Raises:
        ValueError: If they are not, or of no class.
    """
    expected = (len(config.prompt_templates), config.clip_config.projection_dim)
    if text_embeds.dim() not in (3, 4) or (text_embeds.shape[1], text_embeds.shape[-1]) != expected:
        raise ValueError(
            f"`text_embeds` must have shape (T, {expected[0]}, {expected[1]}) for this model's prompt templates "
            f"and embedding size, got {tuple(text_embeds.shape)}."
        )
    if text_embeds.dim() == 4 and config.synonyms != "max":
        raise ValueError(
            f"`text_embeds` with a dimension for synonyms, {tuple(text_embeds.shape)}, need a model with "
            f'`config.synonyms="max"`; this one has "{config.synonyms}": merge the synonyms first.'
        )
    if text_embeds.shape[0] == 0:
        raise ValueError("`text_embeds` has no classes: give at least one.")
