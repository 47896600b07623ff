"""One notebook in the browser: run, press, read, photograph, time.

    lab.open_notebook("00_start_here.ipynb")
    run = lab.run_all()
    lab.press_slider("metarules-step-slider")
    ms = lab.timed(lambda: lab.press_slider("metarules-step-slider"), pictures_change(".metarules-panel-embedding img"))

Selectors are CSS; widgets are found by the classes that `add_class` gave them.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator

from .conditions import Condition
from .lab import LabServer

HARNESS = Path(__file__).with_name("harness.js")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # The network is off: no name but this machine's is ever found, no matter who asks.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
VIEWPORT = (1280, 900)
TALLEST = 8000  # pixels of one screenshot; Chromium cannot paint beyond 16,384
OPEN_SECONDS = 60
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@dataclass(frozen=True)
class Cell:
    """A code cell as the page shows it.

    Attributes:
        index: among the code cells, from 0.
        source: its code.
        count: execution count, None if it never ended.
        running: whether it runs or waits to run.
        errors: what it raised, also inside an Output widget.
        stderr: what it wrote there, warnings for example.
        seconds: what it took in the kernel, None if unknown.
    """

    index: int
    source: str
    count: int | None
    running: bool
    errors: tuple[str, ...]
    stderr: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True)
class Run:
    """One Run All.

    Attributes:
        seconds: in all.
        first_picture: seconds from the start, None if no picture came.
        cells: all code cells.
        unanswered: cells whose answer an interrupt made the kernel forget (see `watch` in harness.js); they still look
            as if they ran.
    """

    seconds: float
    first_picture: float | None
    cells: tuple[Cell, ...]
    unanswered: int = 0

    @property
    def errors(self) -> list[str]:
        """One line for each cell that raised."""
        return [f"code cell {cell.index}: {error}" for cell in self.cells for error in cell.errors]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest cell."""
        return max(cell.seconds or 0.0 for cell in self.cells)


class LabPage:
    """A browser tab with one notebook of a `LabServer`. `page` is Playwright's, for all that has no name here."""

    def __init__(self, server: LabServer, browser: Browser, screenshots: Path) -> None:
        self.server = server
        self.screenshots = screenshots
        self.name = ""
        self.outside: list[str] = []  # requests to anywhere but the server; none of them got through
        self._errors: list[str] = []
        width, height = VIEWPORT
        self._context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        self._context.add_init_script(path=HARNESS)
        self.page = self._context.new_page()
        self.page.on("console", lambda m: self._errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self._errors.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda socket: self._note(socket.url))

    def close(self) -> None:
        """Close the tab and end its kernel."""
        self._context.close()
        self.server.end_kernels()

    # -- the notebook

    def open_notebook(self, name: str) -> None:
        """Open a notebook of `server.notebooks` and wait for its kernel."""
        self.name = Path(name).stem
        self.page.goto(f"{self.server.url}doc/tree/notebooks/{name}?reset&token={self.server.token}")
        self.page.wait_for_function("harness.ready()", timeout=1000 * OPEN_SECONDS)

    def run_all(self, *, wait: bool = True, timeout: float = 120) -> Run | None:
        """Clear all outputs and run every cell; what came of it, or None at once with `wait=False`."""
        self.command("notebook:clear-all-cell-outputs")
        self.page.evaluate("harness.startRunAll()")
        return self.wait_for_run(timeout) if wait else None

    def wait_for_run(self, timeout: float = 120) -> Run:
        """Wait until Run All has ended and the kernel is idle; each cell has its number, unless one raised.

        After an interrupt, the end may also be that the kernel has forgotten to answer for a cell (see `watch` in
        harness.js).
        """
        self.wait_for("() => harness.runEnded()", timeout)
        state = self.page.evaluate("harness.runState()")
        run = Run(state["seconds"], state["firstPicture"], self.cells(), state["unanswered"])
        missing = [cell.index for cell in run.cells if cell.count is None and cell.source.strip()]
        assert run.errors or len(missing) <= run.unanswered, f"code cells {missing} did not run"
        return run

    def cells(self) -> tuple[Cell, ...]:
        """The code cells as they are now."""
        found = self.page.evaluate("harness.cells()")
        return tuple(Cell(**{**c, "errors": tuple(c["errors"]), "stderr": tuple(c["stderr"])}) for c in found)

    def cells_with_errors(self) -> list[Cell]:
        """Code cells that raised."""
        return [cell for cell in self.cells() if cell.errors]

    def interrupt(self, timeout: float = 60) -> None:
        """Interrupt the kernel, as the stop button does, and wait until it is idle."""
        self.page.evaluate("harness.interrupt()")
        self.wait_for_idle(timeout)

    def restart(self) -> None:
        """Restart the kernel without asking back, and wait until it is idle."""
        self.page.evaluate("harness.restart()")
        self.wait_for_idle(OPEN_SECONDS)

    def wait_for_idle(self, timeout: float = 30) -> None:
        self.wait_for("() => harness.status() === 'idle'", timeout)

    def kernel_value(self, expression: str, setup: str = "") -> Any:
        """Value of a Python expression of literals in the notebook's kernel, which leaves no trace in the notebook."""
        return ast.literal_eval(self.page.evaluate("([e, s]) => harness.evaluate(e, s)", [expression, setup]))

    def command(self, name: str, **settings: Any) -> None:
        """Execute one of JupyterLab's commands."""
        self.page.evaluate("([name, settings]) => harness.command(name, settings)", [name, settings])

    def console_errors(self) -> list[str]:
        """Errors in the browser's console so far; JupyterLab itself writes none, so there is nothing to ignore."""
        return list(self._errors)

    # -- widgets

    def find(self, css_class: str) -> Locator:
        """The one widget of a class in the outputs."""
        return self.page.locator(f".jp-OutputArea-output .{css_class}")

    def press_slider(self, css_class: str, key: str = "ArrowRight", times: int = 1) -> None:
        """Press a key on a slider's handle; the class is the slider's or that of a box around it."""
        handle = self.find(css_class).locator(".noUi-handle")
        handle.focus()
        for _ in range(times):
            handle.press(key)

    def fill_readout(self, css_class: str, value: object) -> None:
        """Type a value into the number beside a slider."""
        readout = self.find(css_class).locator(".widget-readout")
        readout.fill(str(value))
        readout.press("Enter")

    def choose(self, css_class: str, label: str) -> None:
        """Choose an entry of a drop-down list by what it says."""
        self.find(css_class).locator("select").select_option(label=label)

    def choices(self, css_class: str) -> list[str]:
        """What the entries of a drop-down list say (ipywidgets writes them with blanks that do not break)."""
        return [text.replace("\xa0", " ") for text in self.find(css_class).locator("option").all_text_contents()]

    def fill_number(self, css_class: str, value: object) -> None:
        """Type a value into a box, for numbers or for text."""
        box = self.find(css_class).locator("input")
        box.fill(str(value))
        box.press("Enter")

    def toggle(self, css_class: str) -> None:
        """Click a check box."""
        self.find(css_class).locator("input[type=checkbox]").click()

    def unfold(self, css_class: str, unfolded: bool = True) -> None:
        """Open an accordion of one fold, or close it, unless it is so already."""
        fold = self.find(css_class).locator(".jupyter-widget-Collapse").first
        if ("jupyter-widget-Collapse-open" in (fold.get_attribute("class") or "").split()) != unfolded:
            fold.locator(".jupyter-widget-Collapse-header").click()
        state = "visible" if unfolded else "hidden"
        fold.locator(".jupyter-widget-Collapse-contents").wait_for(state=state)

    def click(self, css_class: str) -> None:
        """Click a button; the class is the button's or that of a box around it."""
        button = self.find(css_class)
        (button if button.evaluate("node => node.tagName") == "BUTTON" else button.locator("button")).click()

    def text(self, selector: str) -> str:
        """All text at a selector, as seen."""
        return "\n".join(self.page.locator(selector).all_inner_texts())

    def image_sources(self, selector: str) -> list[str]:
        """Addresses of the images at a selector."""
        return [str(found.get_attribute("src")) for found in self.page.locator(selector).all()]

    def pictures(self, selector: str) -> list[bytes]:
        """Bytes of the images at a selector, to compare what is shown rather than what was sent."""
        return [base64.b64decode(text) for text in self.page.evaluate("s => harness.pictures(s)", selector)]

    def wait_for(self, function: str, timeout: float = 30, arg: object = None) -> None:
        """Wait until a JavaScript function gives true."""
        self.page.wait_for_function(function, arg=arg, timeout=1000 * timeout, polling=50)

    def wait_for_quiet(self, selector: str, milliseconds: int = 500) -> None:
        """Wait until the text at a selector has stayed the same for a while."""
        self.page.evaluate("([s, ms]) => harness.quiet(s, ms)", [selector, milliseconds])

    # -- time

    def timed(self, action: Callable[[], None], until: Condition, timeout: float = 20) -> float:
        """Milliseconds from the key or mouse event of an action to the frame that shows a condition met."""
        return self.timed_all(action, {"it": until}, timeout)["it"]

    def timed_all(
        self, action: Callable[[], None], until: Mapping[str, Condition], timeout: float = 20
    ) -> dict[str, float]:
        """The same for several conditions, each of which must come true, in any order."""
        self.page.evaluate("([wanted, ms]) => harness.arm(wanted, ms)", [dict(until), 1000 * timeout])
        action()
        return dict(self.page.evaluate("harness.finished()"))

    # -- pictures of the page

    def set_theme(self, theme: str) -> None:
        """Switch JupyterLab to "light" or "dark"."""
        self.command("apputils:change-theme", theme=THEMES[theme])
        self.wait_for("light => document.body.dataset.jpThemeLight === light", arg=str(theme == "light").lower())
        self.wait_for("() => !document.querySelector('#jupyterlab-splash')")
        self.page.evaluate("harness.frame()")

    def contrasts(self, selector: str) -> list[tuple[str, float]]:
        """WCAG contrast of each piece of text that is seen below a selector, smallest first; 4.5 is enough."""
        return [(text, ratio) for text, ratio in self.page.evaluate("s => harness.contrasts(s)", selector)]

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, in CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})

    def screenshot(self, name: str, css_class: str | None = None) -> Sequence[Path]:
        """Keep a picture of the whole notebook, in several files if it is very long, or of one widget."""
        width, height = VIEWPORT
        whole, sight = self.page.evaluate("harness.heights()")
        tall = min(whole + height - sight, TALLEST)
        step = tall - (height - sight)
        self.resize(width, max(int(tall), height))
        try:
            if css_class is not None:
                path = self._picture_path(name)
                self.find(css_class).screenshot(path=path)
                return [path]
            tops = range(0, int(whole), int(step))
            paths = [self._picture_path(name if len(tops) == 1 else f"{name}-{i}") for i in range(len(tops))]
            for path, top in zip(paths, tops, strict=True):
                self.page.evaluate("top => harness.scroll(top)", top)
                self.page.screenshot(path=path)
            return paths
        finally:
            self.resize(width, height)

    def _picture_path(self, name: str) -> Path:
        self.screenshots.mkdir(parents=True, exist_ok=True)
        return self.screenshots / f"{self.name}-{name}.png"

    def _note(self, url: str) -> None:
        inside = ("data:", "blob:", "about:", self.server.url, self.server.url.replace("http", "ws", 1))
        if not url.startswith(inside):
            self.outside.append(url)
