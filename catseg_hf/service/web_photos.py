# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos that a service fetches: from nowhere but the public web, and from the Label Studio that it was told of."""

import asyncio
import base64
import ipaddress
import socket
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import aiohttp

from catseg_hf.service.errors import ServiceError
from catseg_hf.service.settings import ServiceSettings


TIMEOUT_SECONDS = 20
MAX_REDIRECTS = 3
CHUNK_BYTES = 2**16
# IPv6 addresses that stand for those of IPv4, private ones among them: mapped, translated, 6to4 and Teredo.
CARRIERS_OF_IPV4 = [ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2001::/32")]
# Storages whose files Label Studio fetches itself, with its own rights.
STORAGES = ("s3", "gs", "azure-blob")


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """The socket for a connection, at the moment when the address is certain: after names are resolved.

    The address is as `socket.getaddrinfo` returns it; one that is not of the public web raises an `OSError`.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(host):
        raise OSError(f"{host} is no public address")
    return socket.socket(family, kind, protocol)


def is_public(host: str) -> bool:
    """Whether an IPv4 or IPv6 address, in numbers, leads to the public web."""
    number = ipaddress.ip_address(host.partition("%")[0])
    if number.version == 6 and any(number in network for network in CARRIERS_OF_IPV4):
        return False
    return number.is_global and not number.is_multicast


async def fetch_photo(url: str, max_bytes: int) -> bytes:
    """The file at an address of the public web, of at most so many bytes; `ServiceError` if it cannot be had."""
    if not url.lower().startswith(("http://", "https://")):
        raise ServiceError(422, "`image_url` must begin with http:// or https://.")
    too_large = ServiceError(413, f"The photo at `image_url` has more than {max_bytes:,} bytes: make it smaller.")
    connector = aiohttp.TCPConnector(socket_factory=public_socket)
    try:
        async with (
            _session(connector=connector) as session,
            session.get(url, max_redirects=MAX_REDIRECTS, headers={"User-Agent": "catseg-hf"}) as response,
        ):
            if response.status != 200:
                raise ServiceError(422, f"The photo at `image_url` cannot be had: its server says {response.status}.")
            return await _read_body(response, max_bytes, too_large)
    except asyncio.TimeoutError as error:
        raise ServiceError(422, f"The photo at `image_url` did not come in {TIMEOUT_SECONDS} seconds.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Not what the server said or where it is, which could be read out in this way.
        raise ServiceError(422, "The photo at `image_url` cannot be had from a public address.") from error


def _session(**options: Any) -> aiohttp.ClientSession:
    # Neither proxies nor passwords of this machine are used.
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS), trust_env=False, **options)


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int, too_large: ServiceError) -> bytes:
    parts, total = [], 0
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        parts.append(part)
        total += len(part)
        if total > max_bytes:
            raise too_large
    return b"".join(parts)


class LabelStudioPhotos:
    """The photos of Label Studio's tasks."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.base = None if settings.label_studio_url is None else settings.label_studio_url.rstrip("/") + "/"
        self.token = settings.label_studio_token()

    async def fetch(self, address: str, task_id: int) -> bytes:
        """The file of a task's photo; `ServiceError` if it cannot be had, or may not be fetched from where it lies.

        The address is what the task's data says: a path of Label Studio, a link of a storage, or a URL.
        """
        try:
            address = self._full_address(address, task_id)
            for _ in range(MAX_REDIRECTS + 1):
                if self.base is None or _origin(address) != _origin(self.base):
                    return await self._fetch_elsewhere(address)
                found = await self._fetch_here(address)
                if isinstance(found, bytes):
                    return found
                address = found
        except ValueError as error:  # of parts of an address that cannot be
            raise ServiceError(422, "The address of the task's photo is none.") from error
        raise ServiceError(422, "Label Studio sends the photo's address from one place to the next.")

    def _full_address(self, address: str, task_id: int) -> str:
        scheme = urlsplit(address).scheme.lower()
        if self.base is None and scheme not in ("http", "https"):
            advice = "start it with --label-studio-url"
            raise ServiceError(422, f"The service does not know where Label Studio is: {advice}.")
        if scheme in STORAGES:
            code = base64.urlsafe_b64encode(address.encode()).decode()
            return f"{self.base}tasks/{task_id}/resolve/?fileuri={quote(code)}"
        if scheme or self.base is None:
            return address
        # Paths begin where Label Studio does, which may be behind a path of another server.
        full = urljoin(self.base, "/" + address.lstrip("/"))
        is_below = urlsplit(full).path.startswith(urlsplit(self.base).path)
        return full if is_below else self.base + full.removeprefix(urljoin(self.base, "/"))

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
            async with (
                _session() as session,
                session.get(address, allow_redirects=False, headers=await self._headers(session)) as response,
            ):
                target = response.headers.get("Location", "")
                if response.status in (401, 403) or "/user/login" in target:
                    raise ServiceError(422, self._refused())
                if response.status in (301, 302, 303, 307, 308):
                    return urljoin(address, target)
                if response.status != 200:
                    raise ServiceError(422, f"The photo is not there: Label Studio says {response.status}.")
                return await _read_body(response, self.settings.max_photo_bytes, too_large)
        except asyncio.TimeoutError as error:
            raise ServiceError(422, f"Label Studio did not send the photo in {TIMEOUT_SECONDS} seconds.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServiceError(422, "Label Studio cannot be reached at --label-studio-url.") from error

    async def _headers(self, session: aiohttp.ClientSession) -> dict[str, str]:
        """A legacy token itself, or what Label Studio gives for a personal access token for some minutes."""
        if self.token is None:
            return {}
        if self.token.count(".") != 2:
            return {"Authorization": f"Token {self.token}"}
        async with session.post(f"{self.base}api/token/refresh", json={"refresh": self.token}) as response:
            if response.status != 200:
                raise ServiceError(422, self._refused())
            return {"Authorization": f"Bearer {(await response.json(content_type=None)).get('access')}"}

    def _refused(self) -> str:
        if self.token is None:
            return "Label Studio wants a token: give LABEL_STUDIO_API_KEY or --label-studio-token-file to the service."
        return "Label Studio refuses the service's token: give it one of a user who may see this project."


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
