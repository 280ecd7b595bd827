# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A model of `tests.tiny_models` that reads real words, saved with its processor: milliseconds an image."""

from pathlib import Path

from catseg_hf import CatSegImageProcessor, CatSegProcessor
from catseg_hf.conversion.tokenizer import clip_tokenizer
from tests.tiny_models import tiny_config, tiny_model


VOCABULARY = ["person", ["cat", "kitten"], "grass", "sky"]


def save_tiny_pipeline(folder: Path) -> Path:
    """Saves model, processor and tokenizer; the model's own vocabulary is `VOCABULARY`."""
    tokenizer = clip_tokenizer()
    clip_config = tiny_config().clip_config.to_dict()
    clip_config["text_config"] |= {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = tiny_model(clip_config=clip_config, synonyms="mean")
    image_processor = CatSegImageProcessor(
        shortest_edge=96, longest_edge=384, size={"height": 96, "width": 96}, window=64, stride=32, image_size=64
    )
    processor = CatSegProcessor(image_processor, tokenizer, model.config.prompt_templates, model.config.synonyms)
    model.set_vocabulary(VOCABULARY, processor(text=VOCABULARY)["input_ids"])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
