# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The error of everything that can be wrong with a checkpoint."""


class ConversionError(ValueError):
    """A checkpoint cannot be read, recognised or converted; the message says why and what to do.

    Example:

    ```python
    >>> from catseg_hf.conversion import ConversionError, convert_checkpoint

    >>> try:
    ...     convert_checkpoint("no-such-file.pth", "output")
    ... except ConversionError as error:
    ...     print(error)
    There is no file no-such-file.pth: give the path of a checkpoint (.pth or .safetensors).
    ```
    """
