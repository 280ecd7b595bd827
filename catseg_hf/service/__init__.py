# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A service that segments photos for many callers, on Ray Serve: `catseg serve`.

Needs the extra `serve`: `pip install "catseg-hf[serve]"`.
"""

from catseg_hf.service.settings import ServiceSettings


__all__ = ["ServiceSettings"]
