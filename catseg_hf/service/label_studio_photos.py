# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos of Label Studio's tasks, fetched from the Label Studio that the service was told of."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import aiohttp

from catseg_hf.service.errors import ServiceError
from catseg_hf.service.settings import ServiceSettings
from catseg_hf.service.web_photos import MAX_REDIRECTS, TIMEOUT_SECONDS, fetch_photo, read_body


# Storages whose files Label Studio fetches itself, with its own rights.
STORAGES = ("s3", "gs", "azure-blob")


class LabelStudioPhotos:
    """The photos of tasks.

    Args:
        settings ([`ServiceSettings`]): Where Label Studio is, and limits.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.base = None if settings.label_studio_url is None else settings.label_studio_url.rstrip("/") + "/"
        self.token = settings.label_studio_token()

    async def fetch(self, address: str, task_id: int) -> bytes:
        """Fetches the photo of a task.

        Args:
            address (`str`): What the data of the task says: a path of Label Studio, a link of a storage, or a URL.
            task_id (`int`): Of Label Studio, which asks for it where the photo is in a storage.

        Returns:
            `bytes`: The file.

        Raises:
            ServiceError: If it cannot be had, or lies where this service does not fetch from.
        """
        try:
            return await self._fetch(address, task_id)
        except ValueError as error:  # of parts of an address that cannot be
            raise ServiceError(422, "The address of the task's photo is none.") from error

    async def _fetch(self, address: str, task_id: int) -> bytes:
        scheme = urlsplit(address).scheme.lower()
        if self.base is None and scheme not in ("http", "https"):
            raise ServiceError(
                422, "The service does not know where Label Studio is: start it with --label-studio-url."
            )
        if scheme in STORAGES:
            code = base64.urlsafe_b64encode(address.encode()).decode()
            address = f"{self.base}tasks/{task_id}/resolve/?fileuri={quote(code)}"
        elif self.base is not None and scheme == "":
            # Paths begin where Label Studio does, which may be behind a path of another server.
            address = urljoin(self.base, "/" + address.lstrip("/"))
            prefix = urlsplit(self.base).path
            if not urlsplit(address).path.startswith(prefix):
                address = self.base + address.removeprefix(urljoin(self.base, "/"))
        for _ in range(MAX_REDIRECTS + 1):
            if not self._is_label_studio(address):
                return await self._fetch_elsewhere(address)
            photo = await self._fetch_here(address)
            if isinstance(photo, bytes):
                return photo
            address = photo
        raise ServiceError(422, "Label Studio sends the photo's address from one place to the next.")

    def _is_label_studio(self, address: str) -> bool:
        return self.base is not None and _origin(urlsplit(address)) == _origin(urlsplit(self.base))

    async def _fetch_elsewhere(self, address: str) -> bytes:
        if not self.settings.allow_urls:
            raise ServiceError(
                422,
                "The photo is not at Label Studio itself (--label-studio-url): start the service with --allow-urls, or "
                "turn off pre-signed URLs in Label Studio's storage.",
            )
        return await fetch_photo(address, self.settings.max_photo_bytes)

    async def _fetch_here(self, address: str) -> bytes | str:
        """The file, or where it has moved to."""
        too_large = ServiceError(413, f"The photo has more than {self.settings.max_photo_bytes:,} bytes.")
        try:
            async with self._session() as session, session.get(address, allow_redirects=False) as response:
                target = response.headers.get("Location", "")
                if response.status in (401, 403) or "/user/login" in target:
                    raise ServiceError(422, self._refused())
                if response.status in (301, 302, 303, 307, 308):
                    return urljoin(address, target)
                if response.status != 200:
                    raise ServiceError(422, f"The photo is not there: Label Studio says {response.status}.")
                return await read_body(response, self.settings.max_photo_bytes, too_large)
        except asyncio.TimeoutError as error:
            raise ServiceError(422, f"Label Studio did not send the photo in {TIMEOUT_SECONDS} seconds.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServiceError(422, "Label Studio cannot be reached at --label-studio-url.") from error

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        # Neither proxies nor passwords of this machine are used.
        limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=limit, trust_env=False) as session:
            if self.token is not None:
                session.headers["Authorization"] = await self._authorization(session, self.token)
            yield session

    async def _authorization(self, session: aiohttp.ClientSession, token: str) -> str:
        """Of a legacy token itself, of a personal access token what Label Studio gives for it for some minutes."""
        if token.count(".") != 2:
            return f"Token {token}"
        async with session.post(f"{self.base}api/token/refresh", json={"refresh": token}) as response:
            if response.status != 200:
                raise ServiceError(422, self._refused())
            return f"Bearer {(await response.json(content_type=None)).get('access')}"

    def _refused(self) -> str:
        if self.token is None:
            return "Label Studio wants a token: give LABEL_STUDIO_API_KEY or --label-studio-token-file to the service."
        return "Label Studio refuses the service's token: give it one of a user who may see this project."


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    port = address.port or {"http": 80, "https": 443}.get(address.scheme)
    return address.scheme, address.hostname, port


__all__ = ["LabelStudioPhotos"]
