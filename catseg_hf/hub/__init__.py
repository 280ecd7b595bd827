# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Models by the names that the command line takes: finding, loading, describing and publishing them."""

from .description import describe_installation, describe_model
from .loading import load_exported, load_model_and_processor
from .names import find_model
from .publish import publish_released
from .push import push_folder


__all__ = [
    "describe_installation",
    "describe_model",
    "find_model",
    "load_exported",
    "load_model_and_processor",
    "publish_released",
    "push_folder",
]
