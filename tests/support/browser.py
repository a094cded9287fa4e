"""A real Chromium, headless."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

#: Screenshots are left here; git ignores it.
ARTIFACTS = Path(__file__).parents[2] / ".artifacts"
MISSING = "NO CHROMIUM: apt-get install chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips loudly where there is none; with REQUIRE_CHROMIUM set (CI) that is a failure."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        # As root, in a container, Chromium has no sandbox to run in.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
