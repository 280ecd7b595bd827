# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Models by the names that the command line takes."""

import json
import re
from pathlib import Path

from huggingface_hub import constants
from transformers.utils import cached_file

import catseg_hf
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.conversion import PUBLISHED, ConversionError, load_original


# What the messages advise.
ADVICE = "give a folder written by `catseg convert`, or `owner/name` of a model on the Hub."
# A pattern: `owner/name`.
HUB_NAME = r"[\w-][\w.-]*/[\w.-]+"


def find_model(name: str) -> str:
    """What `from_pretrained` loads; refuses a model that cannot be had before anything large is loaded.

    Args:
        name (`str`): A folder, a name on the Hub (`owner/name`), that of a published checkpoint, or `"tiny"`.

    Returns:
        `str`: A folder or a name on the Hub.

    Raises:
        ValueError: If there is no such folder, no model in it, or nothing of that name to be had.

    Example:

    ```python
    >>> from catseg_hf import TINY
    >>> from catseg_hf.hub import find_model

    >>> find_model("tiny") == TINY
    True
    ```
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


__all__ = ["ADVICE", "HUB_NAME", "find_model"]
