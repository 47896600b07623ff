"""What all widgets share: panels of pictures, a status line, callbacks that never throw, long work that can be stopped.

A widget holds no science. It wires controls to plain functions and shows what they return.
"""

from __future__ import annotations

import functools
import html
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import ipywidgets as widgets

from metarules._work import Progress, Report, Stopped, Worker
from metarules.plots.style import DPI, PANEL
from metarules.widgets.keys import Keys
from metarules.widgets.parts import folded, marked, pictures, row
from metarules.widgets.picture import Picture, side_by_side, with_png


class Controls(widgets.VBox):
    """A column of controls with a status line: callbacks run one at a time, and their errors are shown as sentences.

    Args:
        lock: held while a callback runs; None takes one of its own.
    """

    status: Any  # the line that `say` writes into; a subclass makes it

    def __init__(self, lock: AbstractContextManager[Any] | None = None) -> None:
        super().__init__()
        self.lock = threading.RLock() if lock is None else lock
        self._quiet = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def button(self, text: str, name: str, tooltip: str, callback: Callable[[], None]) -> widgets.Button:
        """A button with the CSS class `metarules-NAME`."""
        button = widgets.Button(description=text, tooltip=tooltip, layout=widgets.Layout(width="auto"))
        button.on_click(self.guarded(lambda _: callback()))
        return marked(button, name)

    def control(self, widget: Any, name: str, callback: Callable[[], None]) -> Any:
        """Call `callback` whenever a control's value changes, and give the control the CSS class `metarules-NAME`."""
        widget.observe(self.guarded(lambda _: callback()), names="value")
        return marked(widget, name)

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback, one at a time, its errors shown as a sentence: a notebook shows no traceback of a callback."""

        @functools.wraps(callback)
        def call(*args: Any) -> None:
            with self.lock:
                if self._quiet:
                    return
                try:
                    callback(*args)
                except Exception as error:
                    self.complain(error)

        return call

    def set_quietly(self, control: Any, **traits: Any) -> None:
        """Set traits of a control without its callback being called."""
        with self.lock:
            before, self._quiet = self._quiet, True
            try:
                for name, value in traits.items():
                    setattr(control, name, value)
            finally:
                self._quiet = before

    def say(self, sentence: str) -> None:
        """Put a sentence into the status line (plain text, no HTML)."""
        self.status.value = f'<div role="status" style="line-height: 1.4">{html.escape(sentence)}</div>'

    def complain(self, error: BaseException) -> None:
        """Show an error as a sentence."""
        self.say(f"This did not work: {error}.")


class Explorable(Controls):
    """Base class of the widgets: controls on top, a fold for the rest, a status line, panels of pictures.

    CSS classes: `metarules-widget` (all of it), `metarules-controls` (those in sight, which stay there while the page
    is scrolled to a picture further down), `metarules-status`, `metarules-progress`, `metarules-stop`,
    `metarules-panels`, `metarules-panel-NAME` (around each picture), `metarules-fold`.

    Args:
        panels: names of the panels, in reading order.
    """

    def __init__(self, panels: Sequence[str]) -> None:
        super().__init__()
        self._worker = Worker(self.lock)
        self._stays = {*vars(self), "_stays"}  # after `close`
        self.last_error: BaseException | None = None  # what the status line last complained of, for a closer look
        width = round(PANEL[0] * DPI)
        self.panels = {name: marked(Picture(width=width), f"panel-{name}") for name in panels}
        self.status = marked(widgets.HTML(layout=widgets.Layout(flex="1 1 300px", min_width="200px")), "status")
        self.progress = marked(widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="140px")), "progress")
        self.stop_button = self.button("Stop", "stop", "Stop computing and keep what is shown", self._on_stop)
        self._show_work(False)
        marked(self, "widget")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its pictures as they stand for readers without a kernel."""
        return with_png(super()._repr_mimebundle_(**options), side_by_side([p.value for p in self.panels.values()]))

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._worker.busy

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being computed, as a script must that reads the result of a change.

        Args:
            timeout: seconds, or None for as long as it takes.

        Returns:
            Whether all is done.
        """
        return self._worker.wait(timeout)

    def close(self) -> None:
        """Close for good: stop what is being computed, and let go of all parts, runs and pictures."""
        if hasattr(self, "_stays"):  # ipywidgets also closes what was never quite made
            self._worker.drop()
            _close_parts(self, vars(self).values())
            for name in set(vars(self)) - self._stays:
                delattr(self, name)
        super().close()
        self.set_trait("children", ())  # no longer sent anywhere

    # ---- for subclasses: parts

    def lay_out(self, controls: Sequence[widgets.Widget], fold: Sequence[widgets.Widget], fold_title: str) -> None:
        """Put everything in its place: at most four controls in sight, the others in a fold."""
        self.children = [
            Keys(),
            marked(row(controls), "controls"),
            marked(folded(fold, fold_title), "fold"),
            row([self.status, self.progress, self.stop_button]),
            marked(pictures(list(self.panels.values())), "panels"),
        ]

    # ---- for subclasses: words and pictures

    def complain(self, error: BaseException) -> None:
        """Show an error as a sentence; the pictures stay as they are."""
        self.last_error = error
        words = str(error) or type(error).__name__
        if not isinstance(error, ValueError | TypeError | RuntimeError):
            words = f"{type(error).__name__}: {words}"
        self.status.value = (
            '<div role="alert" style="line-height: 1.4; border-left: 4px solid #b54800; padding-left: 8px">'
            f"<b>This did not work:</b> {html.escape(words)}. {html.escape(self.kept())}</div>"
        )

    def kept(self) -> str:
        """What a complaint ends with: which state is still shown."""
        return "The pictures are unchanged."

    def show(self, name: str, png: bytes, alt: str) -> None:
        """Put a picture into a panel; nothing is sent where nothing changed."""
        with self.panels[name].hold_sync():
            self.panels[name].value = png
            self.panels[name].alt = alt

    # ---- for subclasses: long work

    def start(
        self,
        label: str | Callable[[], str],
        work: Callable[[Progress, threading.Event], Any],
        done: Callable[[Any], None],
        put_back: Callable[[], None],
    ) -> None:
        """Do long work off the kernel's main thread, with a progress bar and a Stop button; the newest request wins.

        Args:
            label: what is being done, for the status line: "Learning with Hebb"; or a function that says it anew.
            work: called with a function for progress and an event to look at; raises `Stopped` once that is set.
            done: called with the result.
            put_back: called after an error or a stop: the controls go back to what is still shown.
        """

        name = label if callable(label) else lambda: label

        def finish(result: Any, problem: BaseException | None) -> None:
            try:
                if problem is None:
                    done(result)
            except Exception as error:
                problem = error
            self._show_work(False)
            if problem is not None:
                with suppress(Exception):  # the first problem is the one to speak of
                    put_back()
            if isinstance(problem, Stopped):
                self.say(f"{str(problem).capitalize()}. {self.kept()}")
            elif problem is not None:
                self.complain(problem)

        def report(how: Report) -> None:
            self.progress.value = how.share
            self.say(f"{name()}: {how.share:.0%} done, about {how.seconds_left:.0f} s left")

        self.progress.value = 0.0
        self._show_work(True)
        self.say(f"{name()} ...")
        self._worker.start(work, finish, report)

    def drop_work(self) -> None:
        """Forget what is being computed, without a word."""
        self._worker.drop()
        self._show_work(False)

    def _show_work(self, visible: bool) -> None:
        """Show or hide progress bar and Stop button; their place stays reserved, so that nothing jumps."""
        for part in (self.progress, self.stop_button):
            part.layout.visibility = "visible" if visible else "hidden"

    def _on_stop(self) -> None:
        if self._worker.busy:
            self._worker.stop()
            self.say("Stopping ...")


def _close_parts(widget: widgets.Widget, others: Iterable[Any] = ()) -> None:
    """Close every widget that a widget is made of, layouts and styles included, and those among `others`."""
    for value in (*(getattr(widget, name) for name in widget.keys), *others):
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        for part in parts:
            if isinstance(part, widgets.Widget) and part.comm is not None:
                _close_parts(part)
                part.close()
