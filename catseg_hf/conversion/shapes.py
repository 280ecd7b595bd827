# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The shapes of a checkpoint's tensors, with clear errors for what is missing."""

from collections.abc import Iterator, Mapping, Sequence

from .errors import ConversionError


class Shapes(Mapping[str, tuple[int, ...]]):
    """Shapes by key.

    Args:
        shapes (`Mapping[str, Sequence[int]]`): Shapes by key.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self._shapes = {key: tuple(shape) for key, shape in shapes.items()}

    def __getitem__(self, key: str) -> tuple[int, ...]:
        return self._shapes[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def of(self, key: str, dimensions: int) -> tuple[int, ...]:
        """Shape of the tensor `key`, which must exist.

        Args:
            key (`str`): Key of the tensor.
            dimensions (`int`): How many dimensions it must have.

        Returns:
            `tuple[int, ...]`.

        Raises:
            ConversionError: If it is missing or has another number of dimensions, or an empty one.
        """
        if key not in self._shapes:
            raise ConversionError(f"The checkpoint has no tensor {key!r}, which the model needs: it is not complete.")
        shape = self._shapes[key]
        if len(shape) != dimensions or 0 in shape:
            raise ConversionError(
                f"{key!r} has the shape {shape}, but a non-empty tensor with {dimensions} dimensions is needed."
            )
        return shape

    def count(self, prefix: str) -> int:
        """Number of different integers that follow `prefix` in the keys, such as layers of a stack.

        Args:
            prefix (`str`): The beginning of the keys, up to the number.

        Returns:
            `int`: The number, at least 1.

        Raises:
            ConversionError: If no key begins so.
        """
        numbers = {key.removeprefix(prefix).split(".")[0] for key in self._shapes if key.startswith(prefix)}
        count = sum(number.isdecimal() for number in numbers)
        if count == 0:
            raise ConversionError(
                f"The checkpoint has no tensor {prefix}0.*, which the model needs: it is not complete."
            )
        return count
