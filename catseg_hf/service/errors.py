# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""How the service says no."""

# The codes that callers can rely on, by HTTP status.
CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_busy",
    500: "internal",
    503: "unavailable",
}


class ServiceError(Exception):
    """A status of [`CODES`]; what was wrong, and what to do: never anything about the machine."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message

    @property
    def content(self) -> dict[str, dict[str, str]]:
        """The body of the answer."""
        return {"error": {"code": CODES[self.status], "message": self.message}}
