# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Publishing the folder of a model on the Hub."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard

from catseg_hf.cards import CARD_NAME, create_model_card
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.conversion.released import RELEASED_FILE
from catseg_hf.hub.endpoint import HANDLER, REQUIREMENTS, save_endpoint_files
from catseg_hf.hub.names import ADVICE, HUB_NAME, find_model
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor


# What `from_pretrained` may read; a folder's other files, such as those of a training, stay where they are.
PUSHED_FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "*processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "*_catseg.py",
    RELEASED_FILE,
    CARD_NAME,
    HANDLER,
    REQUIREMENTS,
)


def files_to_push(folder: Path) -> dict[str, Path]:
    """The files of a model folder that go to the Hub.

    Args:
        folder (`Path`): The folder.

    Returns:
        `dict[str, Path]`: By their names.
    """
    return {path.name: path for pattern in PUSHED_FILES for path in sorted(folder.glob(pattern))}


def push_folder(
    folder: Path,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    commit_message: str | None = None,
    card: ModelCard | None = None,
    endpoint: bool = False,
) -> str:
    """Uploads a model folder as it is: model, processor, tokenizer and card, in one commit.

    The card in the folder goes along; without one, it is made from the model. A card that is on the Hub already then
    stays.

    Args:
        folder (`Path`): The folder, written by `catseg convert`, a training or `save_pretrained`.
        repo_id (`str`): Where to, `owner/name`; made if it does not exist.
        private (`bool`, *optional*, defaults to `False`): Whether only you see it, if it is made.
        revision (`str`, *optional*): A branch; made if it does not exist.
        commit_message (`str`, *optional*): What the commit is called.
        card (`huggingface_hub.ModelCard`, *optional*): Instead of the card in the folder, and of one on the Hub.
        endpoint (`bool`, *optional*, defaults to `False`):
            Whether to add what an Inference Endpoint needs: a handler, its requirements, and this package's code.

    Returns:
        `str`: Address of the commit.

    Raises:
        ValueError: If the folder does not hold a whole model, or `repo_id` is no `owner/name`.
        OSError: If the Hub cannot be reached or refuses.
    """
    if not re.fullmatch(HUB_NAME, repo_id):
        raise ValueError(f"{repo_id!r} is no name on the Hub: give owner/name.")
    if not any(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder} holds no model: {ADVICE}")
    config = CatSegConfig.from_pretrained(find_model(str(folder)))
    try:
        processor = CatSegProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no processor: save it there with `processor.save_pretrained`.") from error
    api = HfApi()
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    with TemporaryDirectory() as added:
        if endpoint:
            save_endpoint_files(config, processor, Path(added))
        files = files_to_push(folder) | files_to_push(Path(added))
        if card is None and CARD_NAME not in files and not api.file_exists(repo_id, CARD_NAME, revision=revision):
            with torch.device("meta"):
                model = CatSegForSemanticSegmentation(config)
            card = create_model_card(model, processor, name=repo_id)
        operations = [
            CommitOperationAdd(name, path) for name, path in files.items() if card is None or name != CARD_NAME
        ]
        if card is not None:
            operations.append(CommitOperationAdd(CARD_NAME, str(card).encode()))
        message = commit_message or "Upload CAT-Seg with its processor and card"
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision).commit_url


__all__ = ["push_folder"]
