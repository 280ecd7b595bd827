# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The checkpoints that the original authors published: downloads each once, converts it once, and keeps the result."""

import hashlib
import os
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.request import urlopen

from filelock import FileLock
from huggingface_hub import constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError

from .convert import convert_checkpoint
from .errors import ConversionError
from .released import file_digest


DOWNLOAD_CHUNK = 2**20
# More than the largest of them, that of ViT-bigG, has; a server that never ends shall not fill the disk.
MAX_BYTES = 20 * 2**30


@dataclass(frozen=True)
class PublishedFile:
    """Where a published checkpoint is.

    Args:
        file_name (`str`): Name of the file.
        repository (`str`, *optional*): Its repository on the Hub.
        repository_type (`str`, *optional*, defaults to `"model"`): `"model"` or `"space"`.
        url (`str`, *optional*): Its address, where it is not on the Hub.
        sha256_prefix (`str`, *optional*): First digits of its SHA-256.
    """

    file_name: str
    repository: str | None = None
    repository_type: str = "model"
    url: str | None = None
    sha256_prefix: str = ""

    @property
    def address(self) -> str:
        """What a browser downloads."""
        return self.url or hf_hub_url(self.repository, self.file_name, repo_type=self.repository_type)


MMSEG_BASE = "catseg_vitb-r101_4xb1-warmcoslr2e-4-adamw-80k_ade20k-384x384-54194d72.pth"
# The checkpoints of the authors, by their short names.
PUBLISHED = {
    "base": PublishedFile("model_base.pth", "hamacojr/CAT-Seg-weights", "space"),
    "large": PublishedFile("model_large.pth", "hamacojr/CAT-Seg-weights", "space"),
    "v1-base": PublishedFile("model_final_base.pth", "hamacojr/CAT-Seg"),
    "v1-large": PublishedFile("model_final_large.pth", "hamacojr/CAT-Seg"),
    "v1-huge": PublishedFile("model_final_huge.pth", "hamacojr/CAT-Seg"),
    "v1-giant": PublishedFile("model_final_giant.pth", "hamacojr/CAT-Seg"),
    "mmseg-base": PublishedFile(
        MMSEG_BASE,
        url=f"https://download.openmmlab.com/mmsegmentation/v0.5/cat_seg/{MMSEG_BASE}",
        sha256_prefix="54194d72",
    ),
}


def load_original(name: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """A published checkpoint as a folder that `from_pretrained` loads; downloaded and converted at the first call.

    A file that was put into `originals` of the cache by hand is used instead of a download.

    Args:
        name (`str`): `"base"` or `"large"` (CVPR 2024), `"v1-base"`, `"v1-large"`, `"v1-huge"`, `"v1-giant"`, or
            `"mmseg-base"`.
        cache_dir (`str` or `os.PathLike`, *optional*): Defaults to `catseg_hf` in `HF_HOME`.

    Returns:
        `Path`: The folder.

    Raises:
        ConversionError: If there is no such checkpoint or it can be neither downloaded nor converted; the message says
            what to download, and where to put it.
    """
    cache = _cache(name, cache_dir)
    with FileLock(cache / f".{name}.lock"):
        checkpoint, revision = _fetch(PUBLISHED[name], cache)
        folder = cache / "converted" / f"{name}-{revision}-{_package_version()}"
        if not (folder / "config.json").is_file():
            _check_digest(checkpoint)
            convert_checkpoint(checkpoint, folder, released=name)
    return folder


def fetch_original(name: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """A published checkpoint as it is, downloaded at the first call.

    Args:
        name (`str`): As for [`load_original`].
        cache_dir (`str` or `os.PathLike`, *optional*): As for [`load_original`].

    Returns:
        `Path`: The file.

    Raises:
        ConversionError: As [`load_original`].
    """
    cache = _cache(name, cache_dir)
    with FileLock(cache / f".{name}.lock"):
        checkpoint = _fetch(PUBLISHED[name], cache)[0]
        _check_digest(checkpoint)
    return checkpoint


def _check_digest(path: Path) -> None:
    """Compares a file of the Hub's cache with the SHA-256 that the Hub's reply carried, which is its blob's name."""
    blob = path.resolve()
    if blob.parent.name != "blobs" or len(blob.name) != 64:  # put there by hand, or a small file, which has none
        return
    digest = file_digest(blob)
    if digest != blob.name:
        raise ConversionError(
            f"{path} is damaged: its SHA-256 starts with {digest[:16]}, and that of the Hub's file with "
            f"{blob.name[:16]}. Delete {blob} and call this again."
        )


def _cache(name: str, cache_dir: str | os.PathLike | None) -> Path:
    if name not in PUBLISHED:
        raise ConversionError(f"There is no published checkpoint {name!r}: use one of {', '.join(PUBLISHED)}.")
    cache = Path(cache_dir) if cache_dir is not None else Path(constants.HF_HOME) / "catseg_hf"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _package_version() -> str:
    try:
        return version("catseg-hf")
    except PackageNotFoundError:
        return "source"


def _fetch(file: PublishedFile, cache: Path) -> tuple[Path, str]:
    """The checkpoint on disk, and what tells one version of it from another."""
    placed = cache / "originals" / file.file_name
    if placed.is_file():
        state = placed.stat()
        return placed, hashlib.sha256(f"{state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    try:
        if file.url is None:
            path = Path(
                hf_hub_download(
                    file.repository, file.file_name, repo_type=file.repository_type, cache_dir=cache / "hub"
                )
            )
            return path, path.parent.name[:12]  # the commit
        return _download(file, cache / "downloads"), file.sha256_prefix
    except ConversionError:
        raise
    except (OSError, ValueError, HTTPException, HfHubHTTPError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(
            f"{file.file_name} cannot be downloaded ({reason}). Download {file.address} where there is a network, and "
            f"put the file at {placed}; then call this again."
        ) from error


def _download(file: PublishedFile, folder: Path) -> Path:
    path = folder / file.file_name
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with urlopen(file.url, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response, part.open("wb") as output:
            while chunk := response.read(DOWNLOAD_CHUNK):
                digest.update(chunk)
                output.write(chunk)
                if output.tell() > MAX_BYTES:
                    raise OSError(f"its server sends more than {MAX_BYTES / 2**30:.3g} GiB")
        if not digest.hexdigest().startswith(file.sha256_prefix):
            raise OSError(f"its SHA-256 {digest.hexdigest()[:8]} is not {file.sha256_prefix}")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
