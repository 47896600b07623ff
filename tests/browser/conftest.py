"""Server, browser and pages for the tests in this folder, and the report of what they measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from .lab import LabServer
from .page import FLAGS, LabPage, Run
from .report import Report
from .widget import Widget

REPORT = pytest.StashKey[Report]()
FOLDER = pytest.StashKey[Path]()


@pytest.fixture(scope="package")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where screenshots are kept."""
    named = os.environ.get("METARULES_SCREENSHOTS")
    folder = Path(named).absolute() if named else tmp_path_factory.mktemp("screenshots", numbered=False)
    request.config.stash[FOLDER] = folder
    return folder


@pytest.fixture(scope="package")
def report(request: pytest.FixtureRequest) -> Report:
    """Where measurements go; written and printed when the session ends."""
    return request.config.stash.setdefault(REPORT, Report())


@pytest.fixture(scope="package")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab with a copy of the lessons."""
    with LabServer(tmp_path_factory.mktemp("lab")) as server:
        yield server


# One package long, not one session: while Playwright runs, no other test of this process could start an event loop.
@pytest.fixture(scope="package")
def chromium_running(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def new_lab(lab_server: LabServer, chromium_running: Browser, screenshots: Path) -> Callable[[], LabPage]:
    """Makes pages; whoever calls it closes them."""
    return lambda: LabPage(lab_server, chromium_running, screenshots)


@pytest.fixture
def lab(new_lab: Callable[[], LabPage]) -> Iterator[LabPage]:
    """A fresh page for one test."""
    page = new_lab()
    yield page
    page.close()


# -- one page and one kernel for all tests of a lesson, whose module says NAME and WIDGET


@pytest.fixture(scope="module")
def lesson_lab(
    request: pytest.FixtureRequest, new_lab: Callable[[], LabPage], lab_server: LabServer
) -> Iterator[LabPage]:
    """The page of the lesson that the module calls NAME, its kernel just started."""
    name = request.module.NAME
    if not (lab_server.notebooks / name).exists():
        pytest.skip(f"notebooks/{name} does not exist")
    lab = new_lab()
    lab.open_notebook(name)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def first_run(lesson_lab: LabPage) -> Run:
    """The first Run All of a fresh kernel."""
    run = lesson_lab.run_all()
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def opened_widget(request: pytest.FixtureRequest, lesson_lab: LabPage, first_run: Run) -> Widget:
    """The lesson's main widget, of the class that the module calls WIDGET, as it opened."""
    widget: Widget = request.module.WIDGET(lesson_lab)
    return widget


@pytest.fixture
def widget(opened_widget: Widget) -> Widget:
    """The lesson's main widget, reset."""
    opened_widget.reset()
    return opened_widget


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Photograph the page of a test that failed, and show what its console said."""
    outcome: Any = yield
    result = outcome.get_result()
    pages = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, LabPage)]
    if result.when != "call" or not result.failed:
        return
    for page in pages:
        result.sections.append(("browser console", "\n".join(page.console_errors()) or "no error"))
        try:
            page.screenshot(f"failed-{item.name}")
        except Exception as error:  # the page may be what failed; the test's own error matters more
            result.sections.append(("screenshot", f"none: {error}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write and print what was measured."""
    report = config.stash.get(REPORT, None)
    folder = config.stash.get(FOLDER, None)
    if folder is not None:
        terminalreporter.section("browser")
        terminalreporter.line(f"screenshots in {folder}")
    if report is not None and report.measurements and folder is not None:
        path = Path(os.environ.get("METARULES_BROWSER_REPORT") or folder / "browser-report.json")
        report.write(path)
        terminalreporter.line(f"measured in the browser ({path}):")
        for measurement in report.measurements:
            terminalreporter.line(f"  {measurement.line()}")
