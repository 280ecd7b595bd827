# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Publishes the released checkpoints as models of Transformers: `python -m convert --publish OWNER`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelCard, get_hf_file_metadata
from huggingface_hub.errors import EntryNotFoundError, HTTPError, RepositoryNotFoundError

from catseg_hf import __version__
from catseg_hf.cards import create_model_card
from catseg_hf.conversion import PUBLISHED, ConversionError, ConversionOptions, fetch_original, load_original
from catseg_hf.conversion.card import released_card_facts
from catseg_hf.conversion.checkpoint import read_checkpoint
from catseg_hf.conversion.comparison import checked_difference, fixed_input, fixed_logits
from catseg_hf.conversion.convert import build_model
from catseg_hf.conversion.plan import ConversionPlan, plan_conversion
from catseg_hf.conversion.released import RELEASED_FILE, ReleasedCheckpoint, file_digest, read_released
from catseg_hf.hub.push import files_to_push, push_folder
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor


COLLECTION = "CAT-Seg"
COLLECTION_DESCRIPTION = "The checkpoints that the authors of CAT-Seg released, converted to Transformers by catseg_hf."


def publish_released(
    owner: str, names: Sequence[str] = (), *, private: bool = False, dry_run: bool = False
) -> Iterator[str]:
    """Fetches, converts and checks released checkpoints and pushes each as `owner/catseg-NAME`, in one commit.

    A model that was pushed before, of the same file and by the same version of this package, stays as it is, so what
    was interrupted goes on where it was. All are put into a collection.

    Args:
        owner (`str`): The user or organisation on the Hub.
        names (`Sequence[str]`, *optional*): As for [`load_original`]; by default all.
        private (`bool`, *optional*, defaults to `False`): Whether only the owner sees what is made.
        dry_run (`bool`, *optional*, defaults to `False`):
            Whether to do all but write to the Hub: fetch, convert and check.

    Yields:
        `str`: What was done, line by line.

    Raises:
        ConversionError: If a name is unknown, a file is not the released one, a conversion gives other logits than its
            file, or the Hub cannot be reached or refuses.
    """
    unknown = [name for name in names if name not in PUBLISHED]
    if unknown:
        raise ConversionError(f"There is no released checkpoint {unknown[0]!r}: use some of {', '.join(PUBLISHED)}.")
    if not re.fullmatch(r"[\w-][\w.-]*", owner):
        raise ConversionError(f"{owner!r} is no name of a user or organisation on the Hub.")
    names = list(dict.fromkeys(names)) or list(PUBLISHED)
    api = HfApi()
    try:
        if not dry_run:
            _check_login(api, owner)
        for name in names:
            yield from _publish_one(api, name, f"{owner}/catseg-{name}", private, dry_run)
        if not dry_run:
            yield f"Collection: {_collect(api, owner, names, private)}"
    except HTTPError as error:  # the Hub's answers are of this kind, and connections that break
        raise ConversionError(
            f"The Hub cannot be reached, or refuses: {error} What was pushed stays; the same command goes on."
        ) from error


def _check_login(api: HfApi, owner: str) -> None:
    """Refuses before anything large is fetched."""
    user = api.whoami()
    allowed = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
    if owner not in allowed:
        raise ConversionError(f"You are logged in as {allowed[0]}, who cannot write to {owner}: use {allowed}.")


def _publish_one(api: HfApi, name: str, repo_id: str, private: bool, dry_run: bool) -> Iterator[str]:
    expected = _expected_sha256(name)
    present = _present(api, repo_id)
    if present is not None and present.catseg_hf == __version__ and present.file_sha256.startswith(expected):
        yield f"{repo_id}: there already"
        return
    checkpoint = fetch_original(name)
    digest = file_digest(checkpoint)
    if not digest.startswith(expected):
        raise ConversionError(
            f"{checkpoint} is not the released file: its SHA-256 is {digest}, and that of {PUBLISHED[name].address} "
            f"{expected}. Remove it; it is then downloaded again."
        )
    folder = load_original(name)
    released = read_released(folder)
    if released is None or released.file_sha256 != digest:
        raise ConversionError(f"{folder} is of another file or version: remove that folder; it is then made again.")
    plan, difference = compare_with_checkpoint(checkpoint, folder)
    yield f"{repo_id}: {checkpoint.name}, SHA-256 {digest}; logits of file and folder differ by {difference:.1e}"
    card = released_card(folder, repo_id, plan, released)
    if dry_run:
        size = sum(path.stat().st_size for path in files_to_push(folder).values()) / 1e6
        yield f"{repo_id}: {size:,.0f} MB in {folder} would be pushed"
        return
    message = f"Convert {checkpoint.name} with catseg_hf {__version__}"
    yield f"{repo_id}: pushed, {push_folder(folder, repo_id, private, commit_message=message, card=card)}"


def _expected_sha256(name: str) -> str:
    """SHA-256 of the released file, or its first digits, as its source tells."""
    file = PUBLISHED[name]
    return file.sha256_prefix or get_hf_file_metadata(file.address).etag or ""


def _present(api: HfApi, repo_id: str) -> ReleasedCheckpoint | None:
    """Which released checkpoint a repository holds. It came in one commit with all else."""
    try:
        return read_released(Path(api.hf_hub_download(repo_id, RELEASED_FILE)).parent)
    except (EntryNotFoundError, RepositoryNotFoundError):
        return None


def compare_with_checkpoint(checkpoint: Path, folder: Path) -> tuple[ConversionPlan, float]:
    """Compares the logits of a checkpoint file with those of a folder that was made of it, both loaded anew.

    Args:
        checkpoint (`Path`): The file.
        folder (`Path`): What [`convert_checkpoint`] wrote, in float32 and with the default options.

    Returns:
        `tuple[ConversionPlan, float]`: The conversion, and the largest difference, on a fixed input.

    Raises:
        ConversionError: If the file cannot be converted, or the logits differ.
    """
    model = CatSegForSemanticSegmentation.from_pretrained(folder)
    inputs = fixed_input(model)
    after = fixed_logits(model, inputs)
    del model  # Of the largest ones, two take much memory.
    tensors, _ = read_checkpoint(checkpoint)
    plan = plan_conversion({key: tuple(tensor.shape) for key, tensor in tensors.items()}, ConversionOptions())
    return plan, checked_difference(fixed_logits(build_model(plan, tensors), inputs), after)


def released_card(folder: Path, repo_id: str, plan: ConversionPlan, released: ReleasedCheckpoint) -> ModelCard:
    """The card of a released checkpoint on the Hub: with its source, and the published figures marked as such.

    Args:
        folder (`Path`): The converted model.
        repo_id (`str`): Its name on the Hub.
        plan ([`ConversionPlan`]): The conversion.
        released ([`ReleasedCheckpoint`]): Which one it is.

    Returns:
        `huggingface_hub.ModelCard`
    """
    config = CatSegForSemanticSegmentation.config_class.from_pretrained(folder)
    with torch.device("meta"):
        model = CatSegForSemanticSegmentation(config)
    facts = released_card_facts(plan, released, PUBLISHED[released.name].address)
    return create_model_card(model, CatSegProcessor.from_pretrained(folder), name=repo_id, **facts)


def _collect(api: HfApi, owner: str, names: Sequence[str], private: bool) -> str:
    """Puts the models into the owner's collection, in this order, and returns its address."""
    collection = api.create_collection(
        COLLECTION, namespace=owner, description=COLLECTION_DESCRIPTION, private=private, exists_ok=True
    )
    for name in names:
        api.add_collection_item(collection.slug, f"{owner}/catseg-{name}", "model", exists_ok=True)
    return collection.url


__all__ = ["compare_with_checkpoint", "publish_released", "released_card"]
