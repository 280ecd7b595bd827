# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Training, on accelerate or with Trainer: recipes, augmentation, data in a fixed order, checkpoints."""

from .augmentation import augment
from .checkpoints import Checkpoints, LossLog, replaced_whole
from .data import Collator, TrainingSamples
from .models import add_lora, freeze_text, make_shardable, merged_state_dict, set_classes, start_model, text_inputs
from .recipes import RECIPES, Recipe, learning_rate_factor, learning_rate_schedule, parameter_groups
from .streams import TrainingStream, stream_rows
from .trainer import preprocess_logits_for_metrics


__all__ = [
    "RECIPES",
    "Checkpoints",
    "Collator",
    "LossLog",
    "Recipe",
    "TrainingSamples",
    "TrainingStream",
    "add_lora",
    "augment",
    "freeze_text",
    "learning_rate_factor",
    "learning_rate_schedule",
    "make_shardable",
    "merged_state_dict",
    "parameter_groups",
    "preprocess_logits_for_metrics",
    "replaced_whole",
    "set_classes",
    "start_model",
    "stream_rows",
    "text_inputs",
]
