# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a service is told when it starts: which model, how much of everything, and who may ask."""

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of a service; every limit is one that callers can read at `/v1/model`.

    Args:
        model (`str`, *optional*, defaults to `"base"`): As `catseg segment --model` takes it.
        device (`str`, *optional*, defaults to `"auto"`): As [`pick_device`] takes it.
        dtype (`str`, *optional*, defaults to `"auto"`): As [`pick_dtype`] takes it.
        views (`"one"` or `"sliding"`, *optional*): As [`Segmenter`] takes it, for requests that do not say.
        replicas (`int`, *optional*, defaults to 1): Processes with a model each.
        cpus (`int`, *optional*):
            Cores of a replica. By default all cores, shared by the replicas, where there are no GPUs, otherwise 1.
        batch_size (`int`, *optional*):
            Photos that go through the model together. By default 1 on a CPU, where more are not faster and an answer is
            then to the last bit the one that a photo gets alone, and 16 on a GPU.
        max_waiting (`int`, *optional*, defaults to 64): Requests that are there at a time.
        max_photo_bytes (`int`, *optional*, defaults to 20 MiB): Size of a photo's file.
        max_photo_pixels (`int`, *optional*, defaults to 40 million): Height times width of a photo.
        max_names (`int`, *optional*, defaults to 256): Names in a request, synonyms counted.
        max_letters (`int`, *optional*, defaults to 8000): Letters of all names.
        timeout (`float`, *optional*, defaults to 60.0): Seconds that a request may take, its upload included.
        kept_vocabularies (`int`, *optional*, defaults to 64): Vocabularies whose embeddings a replica keeps.
        allow_urls (`bool`, *optional*, defaults to `False`): Whether photos are fetched from the web.
        api_key_file (`str` or `Path`, *optional*): A file with a key in each line; by default nobody needs one.
        label_studio_url (`str`, *optional*): The Label Studio whose backend this is, and whose photos it fetches.
        label_studio_token_file (`str` or `Path`, *optional*):
            A file with a token of Label Studio; by default the environment's `LABEL_STUDIO_API_KEY`, if it is set.

    Raises:
        ValueError: If a number is not positive, or the file has no keys.

    Example:

    ```python
    >>> from catseg_hf.service import ServiceSettings

    >>> ServiceSettings(model="tiny", max_waiting=8).limits["max_waiting"]
    8
    ```
    """

    model: str = "base"
    device: str = "auto"
    dtype: str = "auto"
    views: Literal["one", "sliding"] | None = None
    replicas: int = 1
    cpus: int | None = None
    batch_size: int | None = None
    max_waiting: int = 64
    max_photo_bytes: int = 20 * 2**20
    max_photo_pixels: int = 40_000_000
    max_names: int = 256
    max_letters: int = 8000
    timeout: float = 60.0
    kept_vocabularies: int = 64
    allow_urls: bool = False
    api_key_file: str | Path | None = None
    label_studio_url: str | None = None
    label_studio_token_file: str | Path | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and value <= 0:
                raise ValueError(f"`{field.name}` must be greater than 0, got {value}.")
        url = self.label_studio_url
        if url is not None and not re.match("https?://[^/?#]", url):
            raise ValueError(f"`label_studio_url` must begin with http:// or https:// and a host, got {url!r}.")

    @property
    def limits(self) -> dict[str, float]:
        """What callers are told."""
        names = ("max_waiting", "max_photo_bytes", "max_photo_pixels", "max_names", "max_letters", "timeout")
        return {name: getattr(self, name) for name in names}

    def api_keys(self) -> list[bytes]:
        """The keys in their file; none where nobody needs one. A file without any raises `ValueError`."""
        return (
            [] if self.api_key_file is None else _content(self.api_key_file, "keys", "write one in each line").split()
        )

    def label_studio_token(self) -> str | None:
        """The token for Label Studio, from its file or the environment. A file without one raises `ValueError`."""
        if self.label_studio_token_file is None:
            return os.environ.get("LABEL_STUDIO_API_KEY") or None
        return _content(self.label_studio_token_file, "token", "write it there").decode()


def _content(path: str | Path, what: str, advice: str) -> bytes:
    try:
        content = Path(path).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"The {what} in {path} cannot be read: {error.strerror}.") from error
    if not content:
        raise ValueError(f"{path} has no {what}: {advice}.")
    return content
