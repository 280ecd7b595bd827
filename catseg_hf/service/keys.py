# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Who may ask."""

import base64
import hmac
from collections.abc import Sequence

from fastapi import Request

from catseg_hf.service.errors import ServiceError


def check_key(request: Request, keys: Sequence[bytes]) -> None:
    """Refuses who has no key, in a time that does not tell how much of it was right.

    Args:
        request (`fastapi.Request`):
            Its header `Authorization: Bearer KEY`, or `X-API-Key: KEY`, or basic auth, of which the password is the key
            and the user can be anybody: Label Studio sends nothing else.
        keys (`Sequence[bytes]`): Those that are known; without any, everybody may ask.

    Raises:
        ServiceError: If it is needed and not there.
    """
    if not keys:
        return
    given = _given_key(request)
    # All of them, so that the time does not tell which one it was.
    matches = [hmac.compare_digest(given.strip().encode(), key) for key in keys]
    if not any(matches):
        raise ServiceError(401, "This service needs a key: send the header `Authorization: Bearer KEY`.")


def _given_key(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(token, validate=True).decode().partition(":")[2]
        except ValueError:  # no base64, or no text
            return ""
    return request.headers.get("x-api-key", "")


__all__ = ["check_key"]
