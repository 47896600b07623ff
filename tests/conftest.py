"""What all tests share.

Types and shapes are checked by jaxtyping and beartype, switched on in pyproject.toml (`--jaxtyping-packages`) before
anything imports `metarules`. Every warning is an error there too.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

BROWSER_HELP = (
    "Debian and Ubuntu: apt-get install chromium; elsewhere: python -m playwright install chromium, "
    "or set METARULES_CHROMIUM to a Chromium or Chrome you have"
)

# Our examples are small networks, whose first run compiles and caches: no deadline. In CI the same examples every time.
BUSY = [hypothesis.HealthCheck.too_slow]  # drawing examples takes long where others work too
hypothesis.settings.register_profile("local", deadline=None, suppress_health_check=BUSY)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=BUSY)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

os.environ["METARULES_RULES"] = os.devnull  # a tester's own rules play no part

torch.set_num_threads(1)  # small models run slower with more, and sums come out in one order


@pytest.fixture(autouse=True)
def keep_torch_settings() -> Iterator[None]:
    """A command line sets threads and the treatment of denormal numbers for its process, which all tests share."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module", autouse=True)
def close_widgets() -> Iterator[None]:
    """ipywidgets keeps every widget until it is closed: 15,000 of them and 5 GB after the tests of six modules."""
    yield
    if ipywidgets := sys.modules.get("ipywidgets"):
        ipywidgets.Widget.close_all()


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness that starts at seed 0 for each test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Leaves annotations unchecked, as outside the tests, so that our own message for a wrong type is heard."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def types_unchecked_where_slow(request: pytest.FixtureRequest) -> None:
    """What takes minutes takes three times as long with types checked, which the fast tests do on the same code."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("unchecked_types")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for Playwright's `executable_path`; the test is skipped where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"no Chromium found ({BROWSER_HELP})")
    return path


def find_chromium() -> str | None:
    """A browser named by METARULES_CHROMIUM, or on the PATH, or fetched by Playwright itself."""
    named = os.environ.get("METARULES_CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise pytest.UsageError(f"METARULES_CHROMIUM is {named!r}; allowed: the path of an executable")
        return named
    for command in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(command):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip browser tests where there is no browser; after `-m` has chosen, so that others never start Playwright."""
    wanting = [item for item in items if item.get_closest_marker("browser")]
    if wanting and find_chromium() is None:
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason=f"no Chromium found ({BROWSER_HELP})"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly which browser tests were left out, and how to have them."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = sorted({report.nodeid for report in skipped if "no Chromium found" in str(report.longrepr)})
    if left_out:
        terminalreporter.section("browser tests left out: no Chromium found")
        for nodeid in left_out:
            terminalreporter.line(nodeid)
        terminalreporter.line(f"To have them: {BROWSER_HELP}.")
