# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which class ids the values of label files stand for: by their order, or by the names that a file gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np


# Of pixels that are not scored, unless the vocabulary has a class of the name.
IGNORED_NAMES = ("ignore", "void", "unlabeled")


@dataclass(frozen=True)
class StoredIds:
    """How class ids come from the numbers that label files store.

    Args:
        classes (`Sequence[int]`): The stored value of each class, from 0 to 65535.
        ignore_index (`int`): Id of the pixels that are not scored.
        ignored (`Sequence[int]`, *optional*): Stored values of pixels that are not scored; `None`: all that are not in
            `classes`.
    """

    classes: Sequence[int]
    ignore_index: int
    ignored: Sequence[int] | None = None
    by_color: ClassVar[bool] = False

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def to_class_ids(self, values: np.ndarray) -> np.ndarray:
        """Class ids of stored values.

        Args:
            values (`np.ndarray`): Of any shape and integer type.

        Returns:
            `np.ndarray`: int32 class ids of the same shape.

        Raises:
            ValueError: If there is a value that stands neither for a class nor for pixels that are not scored.
        """
        unknown = -1
        table = np.full(65536, self.ignore_index if self.ignored is None else unknown, dtype=np.int32)
        table[list(self.ignored or ())] = self.ignore_index
        table[list(self.classes)] = np.arange(len(self.classes))
        outside = (values < 0) | (values > 65535)
        ids = np.where(outside, unknown, table[np.where(outside, 0, values)])
        if (ids == unknown).any():
            found = np.unique(values[ids == unknown])[:5].tolist()
            raise ValueError(
                f"contains the values {found}, which stand for no class of this data set: allowed are those of its "
                f"{len(self.classes)} classes, {min(self.classes)} to {max(self.classes)}, and those of pixels that "
                f"are not scored, {list(self.ignored or ())}."
            )
        return ids.astype(np.int32)


@dataclass(frozen=True)
class NamedValues:
    """How class ids come from the values that a label map names.

    Args:
        values (`tuple[int, ...]`): The values, in ascending order.
        class_ids (`tuple[int, ...]`): The id of each.
        num_classes (`int`): Number of classes.
        ignore_index (`int`): Id of the pixels that are not scored.
        by_color (`bool`): Whether the values are colours, as [`label_values`] packs them.
        path (`Path`): The file, for messages.
    """

    values: tuple[int, ...]
    class_ids: tuple[int, ...]
    num_classes: int
    ignore_index: int
    by_color: bool
    path: Path = field(repr=False, compare=False)

    def to_class_ids(self, values: np.ndarray) -> np.ndarray:
        """Class ids of stored values.

        Args:
            values (`np.ndarray`): Of any shape and integer type.

        Returns:
            `np.ndarray`: int32 class ids of the same shape.

        Raises:
            ValueError: If there is a value that the file does not name; says which, and how often.
        """
        known = np.array(self.values, dtype=np.int32)
        places = np.searchsorted(known, values).clip(max=len(known) - 1)
        is_unknown = known[places] != values
        if is_unknown.any():
            found, numbers = np.unique(values[is_unknown], return_counts=True)
            order = np.argsort(-numbers, kind="stable")
            shown = ", ".join(f"{self._spell(found[index])} ({numbers[index]:,} pixels)" for index in order[:5])
            kind = ("colour" if self.by_color else "value") + ("s" if len(found) > 1 else "")
            more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
            raise ValueError(
                f"contains the {kind} {shown}{more}, which {self.path} does not name: add a line for each, of the name "
                f"{IGNORED_NAMES[0]} if such pixels shall not be scored."
            )
        return np.array(self.class_ids, dtype=np.int32)[places]

    def _spell(self, value: int) -> str:
        return "{},{},{}".format(*(value >> shift & 255 for shift in (0, 8, 16))) if self.by_color else str(value)


LabelValues = StoredIds | NamedValues


__all__ = ["IGNORED_NAMES", "LabelValues", "NamedValues", "StoredIds"]
