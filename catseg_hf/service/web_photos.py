# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos that a service fetches for its callers, from nowhere but the public web."""

import asyncio
import ipaddress
import socket
from typing import Any

import aiohttp

from catseg_hf.service.errors import ServiceError


TIMEOUT_SECONDS = 20
MAX_REDIRECTS = 3
CHUNK_BYTES = 2**16
# IPv6 addresses that stand for those of IPv4, private ones among them: mapped, translated, 6to4 and Teredo.
CARRIERS_OF_IPV4 = [ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2001::/32")]


class PrivateAddressError(OSError):
    """An address that is not of the public web."""


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """The socket for a connection, at the moment when the address is certain: after names are resolved.

    Args:
        address (`tuple`): As `socket.getaddrinfo` returns it.

    Returns:
        `socket.socket`

    Raises:
        PrivateAddressError: If it leads into a private network, or to this machine.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(host):
        raise PrivateAddressError(f"{host} is no public address")
    return socket.socket(family, kind, protocol)


def is_public(host: str) -> bool:
    """Whether an address leads to the public web.

    Args:
        host (`str`): IPv4 or IPv6, in numbers.

    Returns:
        `bool`
    """
    number = ipaddress.ip_address(host.partition("%")[0])
    if number.version == 6 and any(number in network for network in CARRIERS_OF_IPV4):
        return False
    return number.is_global and not number.is_multicast


async def fetch_photo(url: str, max_bytes: int) -> bytes:
    """Fetches a photo.

    Args:
        url (`str`): `http` or `https`.
        max_bytes (`int`): More is not read.

    Returns:
        `bytes`: The file.

    Raises:
        ServiceError: If it cannot be had.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ServiceError(422, "`image_url` must begin with http:// or https://.")
    too_large = ServiceError(413, f"The photo at `image_url` has more than {max_bytes:,} bytes: make it smaller.")
    connector = aiohttp.TCPConnector(socket_factory=public_socket)
    limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        # Neither proxies nor passwords of this machine are used.
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit, trust_env=False) as session,
            session.get(url, max_redirects=MAX_REDIRECTS, headers={"User-Agent": "catseg-hf"}) as response,
        ):
            if response.status != 200:
                raise ServiceError(422, f"The photo at `image_url` cannot be had: its server says {response.status}.")
            return await read_body(response, max_bytes, too_large)
    except asyncio.TimeoutError as error:
        raise ServiceError(422, f"The photo at `image_url` did not come in {TIMEOUT_SECONDS} seconds.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Not what the server said or where it is, which could be read out in this way.
        raise ServiceError(422, "The photo at `image_url` cannot be had from a public address.") from error


async def read_body(response: aiohttp.ClientResponse, max_bytes: int, too_large: ServiceError) -> bytes:
    """Reads the body of an answer.

    Args:
        response (`aiohttp.ClientResponse`): The answer.
        max_bytes (`int`): More is not read.
        too_large ([`ServiceError`]): Is raised then.

    Returns:
        `bytes`
    """
    parts, total = [], 0
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        parts.append(part)
        total += len(part)
        if total > max_bytes:
            raise too_large
    return b"".join(parts)


__all__ = ["MAX_REDIRECTS", "TIMEOUT_SECONDS", "fetch_photo", "read_body"]
