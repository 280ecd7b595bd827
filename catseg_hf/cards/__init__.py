# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards: the `README.md` that says on the Hub what a model is, made, written, updated, and kept by a push."""

from .model_card import CARD_NAME, create_model_card, evaluation_result, update_model_card, write_model_card
from .pushed_card import settle_pushed_card


__all__ = [
    "CARD_NAME",
    "create_model_card",
    "evaluation_result",
    "settle_pushed_card",
    "update_model_card",
    "write_model_card",
]
