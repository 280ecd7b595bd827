# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which card goes along with a push: that of the branch, or one made from the model instead of an empty form."""

import os
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

from catseg_hf.cards.model_card import CARD_NAME, create_model_card
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation


def settle_pushed_card(
    folder: str | os.PathLike,
    repo_id: str,
    model: CatSegForSemanticSegmentation | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
) -> None:
    """Makes the card in a folder that is about to be pushed the right one; called by `push_to_hub`.

    Transformers puts the card of the main branch there, or an empty form. A card that the pushed branch has already
    stays, and an empty form gives way to a card made from the model.

    Args:
        folder (`str` or `os.PathLike`): What is going to be pushed.
        repo_id (`str`): Where to.
        model ([`CatSegForSemanticSegmentation`], *optional*): The model, where it is the model that is pushed.
        revision (`str`, *optional*): The branch.
        token (`str` or `bool`, *optional*): The token of the push.
    """
    path = Path(folder, CARD_NAME)
    if not path.is_file():
        return
    pushed = ModelCard.load(path, ignore_metadata_errors=True)
    card = _card_of_branch(repo_id, revision, token) if revision is not None else None
    if card is None and model is not None and _is_empty_form(pushed):
        card = create_model_card(model, name=repo_id, includes_code=Path(folder, "modeling_catseg.py").is_file())
    if card is not None:
        tags = list(dict.fromkeys([*(card.data.tags or []), *(pushed.data.tags or [])]))
        card.data.tags = tags or None
        card.save(path)


def _card_of_branch(repo_id: str, revision: str, token: str | bool | None) -> ModelCard | None:
    try:
        path = HfApi(token=token).hf_hub_download(repo_id, CARD_NAME, revision=revision)
    except (EntryNotFoundError, RevisionNotFoundError):  # the push is going to make the branch
        return None
    card = ModelCard.load(path, ignore_metadata_errors=True)
    return None if _is_empty_form(card) else card


def _is_empty_form(card: ModelCard) -> bool:
    """Whether it is huggingface_hub's template, in which nothing but Transformers' one sentence was filled in."""
    before, after = ModelCard.from_template(ModelCardData(), model_description="\0").text.split("\0")
    text = card.text
    if not (text.startswith(before) and text.endswith(after)):
        return False
    return "has been automatically generated" in text[len(before) : len(text) - len(after)]


__all__ = ["settle_pushed_card"]
