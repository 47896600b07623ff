"""Whether somebody is still there to watch long work: a page that tells that it is open, and a kernel's interrupt.

Work on a thread of its own outlives a closed page, and an interrupt reaches the main thread alone. Both are seen here,
so that neither leaves anything running.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import anywidget
import traitlets

_BEAT_EVERY = 3000  # milliseconds between two signs of life
PATIENCE = 90.0  # seconds without one; browsers let a hidden page's timers run once a minute only
GONE = 8.0  # seconds to wait after a page said good-bye, in case another one shows the same widget

_ESM = """
export default {
  initialize({ model }) {
    const tell = (name) => { model.set(name, Date.now()); model.save_changes(); };
    let timer = null;
    const watch = () => {
      clearInterval(timer);
      timer = null;
      if (!model.get("watching")) return;
      tell("beat");
      timer = setInterval(() => tell("beat"), BEAT);
    };
    const gone = () => { if (model.get("watching")) tell("gone"); };
    model.on("change:watching", watch);
    window.addEventListener("pagehide", gone);
    watch();
    return () => { gone(); clearInterval(timer); window.removeEventListener("pagehide", gone); };
  },
  render({ el }) { el.style.display = "none"; },
};
""".replace("BEAT", str(_BEAT_EVERY))


class Presence(anywidget.AnyWidget):
    """An invisible part of a widget: its page says every few seconds that it is open, while `watching` is set.

    Traits:
        watching: whether the page should tell.
        beat, gone: when it last said that it is open, and that it is being closed, by its own clock.
    """

    _esm = _ESM
    watching = traitlets.Bool(False).tag(sync=True)
    beat = traitlets.Float(0.0).tag(sync=True)
    gone = traitlets.Float(0.0).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.layout.display = "none"
        self._deadline: float | None = None
        self.observe(lambda _: self._wait(PATIENCE), names="beat")
        self.observe(lambda _: self._wait(GONE), names="gone")

    def __repr__(self) -> str:
        return "Presence()"

    @property
    def lost(self) -> bool:
        """True when a page once was there and is there no longer. Without any page, as in a script, never."""
        return self._deadline is not None and time.monotonic() > self._deadline

    def watch(self, on: bool) -> None:
        """Begin or end to ask the page."""
        self._deadline = None
        self.watching = on

    def _wait(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds


_to_stop: weakref.WeakSet[Any] = weakref.WeakSet()  # objects with a method `interrupt`
_installed = False


def stop_on_interrupt(thing: Any) -> None:
    """Call `thing.interrupt()` whenever the kernel is interrupted, whether or not a cell is running.

    While no cell runs, a kernel ignores the signal of an interrupt; from the first call on it reaches `thing`. In a
    plain script Python's own handling is left as it is.

    Args:
        thing: anything with a method `interrupt`; it is not kept alive.
    """
    global _installed
    _to_stop.add(thing)
    shell = _shell()
    if shell is None or _installed or threading.current_thread() is not threading.main_thread():
        return
    _installed = True
    shell.events.register("post_run_cell", _after_cell)
    try:
        # ipykernel sets its own handler around every message, and puts back the one before: ours must come between two
        asyncio.get_running_loop().call_later(0.2, _install)
    except RuntimeError:  # no loop: IPython in a terminal, where an interrupt always meets the prompt
        return


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _after_cell(result: Any) -> None:
    if isinstance(result.error_in_exec, KeyboardInterrupt):
        _interrupt_all()


def _install() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the kernel is between two messages, as it should be
        signal.signal(signal.SIGINT, _on_signal)
    else:
        asyncio.get_running_loop().call_later(0.2, _install)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _interrupt_all()


def _interrupt_all() -> None:
    for thing in list(_to_stop):
        call: Callable[[], None] = thing.interrupt
        call()
