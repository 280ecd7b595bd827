# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Text embeddings of the vocabularies that were asked for last.

A service owns its weights, which never change under it, so that embeddings may be kept here, and only here.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

from catseg_hf.prompts_catseg import Label


class EmbeddingStore:
    """A bounded store; the vocabulary that was not used for longest goes first.

    Args:
        compute (`Callable[[list[Label] | None], torch.Tensor]`):
            Makes the embeddings of labels, or, for `None`, of the model's own.
        size (`int`): Number of vocabularies to keep.
    """

    def __init__(self, compute: Callable[[list[Label] | None], torch.Tensor], size: int) -> None:
        self.compute, self.size = compute, size
        self._kept: OrderedDict[Hashable, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, labels: list[Label] | None) -> torch.Tensor:
        """Embeddings of labels, kept or computed.

        Args:
            labels (`list[str | list[str]]`, *optional*): As [`parse_labels`] returns them.

        Returns:
            `torch.Tensor` of shape `(T, P, D)` or `(T, P, S, D)`.

        Raises:
            ValueError: If a label cannot be used; then nothing is kept.
        """
        key = vocabulary_key(labels)
        embeds = self._kept.pop(key, None)
        # At the end, where the last that were used are.
        self._kept[key] = self.compute(labels) if embeds is None else embeds
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return self._kept[key]


def vocabulary_key(labels: list[Label] | None) -> Hashable:
    """What is the same for equal vocabularies only: a class with one synonym is not that of its name and a comma.

    Args:
        labels (`list[str | list[str]]`, *optional*): As [`parse_labels`] returns them.

    Returns:
        `Hashable`
    """
    if labels is None:
        return None
    return tuple(label if isinstance(label, str) else tuple(label) for label in labels)


__all__ = ["EmbeddingStore", "vocabulary_key"]
