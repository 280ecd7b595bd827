# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A real browser for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright


# Against a hanging browser; nothing takes as long.
TIMEOUT = 120_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, or the test is skipped where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("There is no Chromium, which shows the pages: `apt-get install chromium`.")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()
