"""Programs of the system that some tests need; `tests/install` puts them there."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def absent(what: str) -> NoReturn:
    """Skip a test, or have it fail where everything is to be there."""
    why = f"no {what} on this machine; tests/install as root puts it there"
    if os.environ.get("VP_TEST_PACKAGES") == "yes":
        pytest.fail(why)
    pytest.skip(why)
