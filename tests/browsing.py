"""A headless browser, and somebody who looks at a page in it. No test is here."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Start a browser that reaches no other host; skip the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    place = next(filter(None, map(shutil.which, BROWSERS)), None)
    if place is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    arguments = [OFFLINE, "--autoplay-policy=no-user-gesture-required"]
    arguments += ["--no-sandbox"] if os.getuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=arguments)
        yield browser
        browser.close()


class Visitor:
    """Somebody at a page; remembers errors, dialogs and requests to other places."""

    def __init__(self, browser: Any, address: str, **look: Any) -> None:
        self.page = browser.new_context(**look).new_page()
        self.page.set_default_timeout(20_000)
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._see(request.url, address))
        self.page.on("dialog", self._dismiss)
        self.page.goto(address)

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _see(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.strangers.append(url)

    def _dismiss(self, dialog: Any) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()
