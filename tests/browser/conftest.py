"""A Chromium without a window, for tests of what people see and do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.packages import CHROMIUM, absent

# a graphics card in software, so that WebGL 2 is there on every machine
ARGUMENTS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
]  # fmt: skip


@dataclass
class Heard:
    """What a page said and asked for."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        absent("Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Open a file in a window of a width, light or dark, with or without JavaScript."""
    contexts = []

    def load(page: Path, *, width: int = 1280, scheme: str = "light", script: bool = True) -> tuple[Any, Heard]:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        tab, heard = context.new_page(), Heard()
        tab.on("console", lambda message: heard.console.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: heard.errors.append(str(error)))
        tab.on("request", lambda request: heard.requests.append(request.url))
        tab.goto(page.as_uri())
        return tab, heard

    yield load
    for context in contexts:
        context.close()
