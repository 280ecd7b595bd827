# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The `catseg` command in this process, as for the tests of the other things that it does."""

from tests.app.conftest import catseg


__all__ = ["catseg"]
