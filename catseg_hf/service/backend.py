# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the service's interface asks of a model."""

from typing import Any, Protocol

from catseg_hf.service.segment_request import SegmentRequest


class Backend(Protocol):
    """What segments."""

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
        """The body of the answer, and how many photos went through the model together with this one."""

    async def describe(self) -> dict[str, Any]:
        """What the model is."""

    async def is_ready(self) -> bool:
        """Whether a model is there."""


__all__ = ["Backend"]
