"""`watched`: a long call in a notebook's cell, with a line of progress and Stop; an interrupt loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import ipywidgets as widgets
from IPython.display import display

from metarules._work import Progress, Report, Stopped, Worker
from metarules.widgets.base import Controls
from metarules.widgets.keys import Keys
from metarules.widgets.parts import marked, row
from metarules.widgets.presence import Presence

_LOOK_EVERY = 0.05  # seconds between two looks whether the work has ended

Result = TypeVar("Result")
_kept: list[Any] = [None]  # what the call gave back that was interrupted last


class Interrupted(KeyboardInterrupt):
    """A cell was interrupted; what was done by then is kept. A notebook shows the sentence and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


class Watched(Controls):
    """The line of one long call.

    CSS classes: `metarules-work`, and in it `metarules-work-status`, `metarules-work-progress`, `metarules-work-stop`.

    Args:
        label: what is being done, for the line.

    Attributes:
        result: what the call gave back, also after a stop or an interrupt; None before, and where it gave nothing back.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label, self.result = label, None
        self._worker = Worker(self.lock)
        self._problem: BaseException | None = None
        self._done = (0, 0)
        self._presence = Presence()
        self.status = marked(widgets.HTML(layout=widgets.Layout(flex="1 1 300px", min_width="200px")), "work-status")
        self.progress = marked(
            widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="140px")), "work-progress"
        )
        self.stop_button = self.button("Stop", "work-stop", "Stop, and keep what is done", self.stop)
        self.children = [Keys(), row([self.status, self.progress, self.stop_button]), self._presence]
        marked(self, "work")

    def __repr__(self) -> str:
        return f"{self.label}: a line of progress, while this cell runs"

    def stop(self) -> None:
        """Ask the call to end; what is done is kept."""
        if self._worker.busy:
            self._worker.stop()
            self.say(f"{self.label}: stopping ...")

    def run(self, call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """Make the call on a thread of its own, wait for it, and give back what it gave; see `watched`."""
        for part in (self.stop_button, self._presence):
            _hear_while_busy(part)
        self._presence.watch(True)
        self.say(f"{self.label} ...")

        def work(progress: Progress, stop: threading.Event) -> Any:
            def tell(done: int, all_: int) -> None:
                self._done = done, all_
                progress(done, all_)

            return call(*arguments, progress=tell, stop=stop, **settings)

        interrupted = False
        self._worker.start(work, self._finish, self._report)
        while self._worker.busy:
            try:
                self._worker.wait(_LOOK_EVERY)
            except KeyboardInterrupt:
                interrupted = True
                self.stop()
            if self._presence.lost:
                self._worker.stop()
        self._presence.watch(False)
        if isinstance(self._problem, Stopped) or interrupted:
            _kept[:] = [self.result]
            raise Interrupted(self._told() + (" kept() gives them." if self.result is not None else ""))
        if self._problem is not None:
            raise self._problem
        return self.result

    def _told(self) -> str:
        done, all_ = self._done
        return f"{self.label}: {done} of {all_} done" + ("." if done == all_ else ", then stopped; these are kept.")

    def _finish(self, result: Any, problem: BaseException | None) -> None:
        self.result, self._problem = result, problem
        self.stop_button.disabled = True
        self.progress.value = self._done[0] / max(self._done[1], 1)
        if problem is None or isinstance(problem, Stopped):
            self.say(self._told())
        else:
            self.complain(problem)

    def _report(self, how: Report) -> None:
        self.progress.value = how.share
        done, all_ = self._done
        self.say(f"{self.label}: {done} of {all_}, about {how.seconds_left:.0f} s left")


def _hear_while_busy(widget: widgets.Widget) -> None:
    """Let the page's messages to a widget go to the subshell that it asks for, which answers while a cell runs.

    ipykernel 7.4 sends them to the loop that spoke to the page last: the one that this cell keeps busy. An ipykernel
    without subshells hears a button only after the cell; an interrupt works in all.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, wanted: wanted


def watched(label: str, call: Callable[..., Result], *arguments: Any, **settings: Any) -> Result:
    """Make a long call in a notebook's cell: a line says how far it is, Stop and an interrupt end it in good order.

    Stop ends the call, and the cell goes on with what the call gives back then. An interrupt of the kernel (the
    notebook's own stop button) ends the cell too, with a sentence; `kept` has what the call gave back. A page that is
    closed stops the call.

    Args:
        label: what is being done, for the line.
        call: takes `progress`, called with (done, all), and `stop`, an event after which it ends.
        arguments, settings: the call's other arguments.

    Raises:
        Interrupted: an interrupt, or a stop of a call that gives nothing back then.
        Exception: whatever the call raises.

    Example:
        run = watched("Meta-training", meta_train, my_rule, meta_steps=200)
    """
    line = Watched(label)
    display(line)
    return cast(Result, line.run(call, *arguments, **settings))


def kept() -> Any:
    """What the last call under `watched` that was interrupted gave back; None if there was none."""
    return _kept[0]
