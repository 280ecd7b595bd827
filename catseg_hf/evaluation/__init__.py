# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Evaluation: protocols, metrics, and counts that survive any end of its processes; tables and pictures of the result.

Only [`evaluate`] itself needs the extra `eval`.
"""

from .charts import draw_class_bars, draw_confusions, draw_worst_images
from .metrics import ConfusionMatrix
from .only import only_classes, only_table
from .protocols import AUGMENTATION_SCALES, PROTOCOL_NAMES, Protocol
from .report import class_table, results_table, update_card, write_report
from .results import Evaluation, load_evaluation, save_evaluation, seen_unseen
from .run import evaluate
from .segmenter import PreparedImages, ProtocolSegmenter, prepare_images


__all__ = [
    "AUGMENTATION_SCALES",
    "PROTOCOL_NAMES",
    "ConfusionMatrix",
    "Evaluation",
    "PreparedImages",
    "Protocol",
    "ProtocolSegmenter",
    "class_table",
    "draw_class_bars",
    "draw_confusions",
    "draw_worst_images",
    "evaluate",
    "load_evaluation",
    "only_classes",
    "only_table",
    "prepare_images",
    "results_table",
    "save_evaluation",
    "seen_unseen",
    "update_card",
    "write_report",
]
