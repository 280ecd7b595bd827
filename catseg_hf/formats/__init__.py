# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Formats of results: one object in one file, found in one list. Libraries are imported where they are needed."""

from .all_formats import ANNOTATION_FORMATS, ANSWER_FORMATS, DEFAULT_FORMAT, FORMATS, find_format, format_of
from .format import AnnotationFormat, Format
from .options import AnnotationOptions
from .result_files import ResultFiles


__all__ = [
    "ANNOTATION_FORMATS",
    "ANSWER_FORMATS",
    "DEFAULT_FORMAT",
    "FORMATS",
    "AnnotationFormat",
    "AnnotationOptions",
    "Format",
    "ResultFiles",
    "find_format",
    "format_of",
]
