"""A lesson's main widget as a reader has it before her; each lesson's test adds what its own widget says."""

from __future__ import annotations

import re
import time
from typing import ClassVar

from .conditions import Condition, text_changes, text_matches
from .page import LabPage

RESET_SECONDS = 10


class Widget:
    """The one explorer of a page, just as it opened when this object is made.

    Attributes:
        panels: names of its panels.
        words: what its status line says, unless it speaks of work or of an error: a pattern with named groups.
        slider: CSS class of its main slider.
        away: key that moves this slider from where it opens.
        works: what the status line says while there is work: a pattern.
    """

    panels: ClassVar[tuple[str, ...]]
    words: ClassVar[str]
    slider: ClassVar[str] = "metarules-step-slider"
    away: ClassVar[str] = "Home"
    works: ClassVar[str] = r"^(Learning|Drawing)\b"
    status: ClassVar[str] = ".metarules-status"

    def __init__(self, lab: LabPage) -> None:
        self.lab = lab
        self._opened = self.pictures(), lab.text(self.status)

    def reset(self) -> None:
        """Press Reset, and wait until everything is as it was when this object was made."""
        if not self.lab.find("metarules-reset").is_visible():
            self.lab.unfold("metarules-fold")
        self.lab.click("metarules-reset")
        self.wait_until_reset()

    def wait_until_reset(self) -> None:
        """Wait until everything is as it was when this object was made."""
        deadline = time.monotonic() + RESET_SECONDS
        while (self.pictures(), self.lab.text(self.status)) != self._opened:
            assert time.monotonic() < deadline, f"Reset left {self.lab.text(self.status)!r}, not {self._opened[1]!r}"
            self.lab.page.wait_for_timeout(50)
        self.lab.wait_for_quiet(self.status)

    def move(self) -> None:
        """Move the slider from where it opens; the status line must follow."""
        if not self.lab.find(self.slider).is_visible():
            self.lab.unfold("metarules-fold")
        self.lab.timed(lambda: self.lab.press_slider(self.slider, self.away), text_changes(self.status))

    def prepare_work(self) -> None:
        """Whatever it takes that another seed means work."""

    def said(self) -> dict[str, str]:
        """The status line, taken apart by `words`."""
        text = self.lab.text(self.status).strip()
        found = re.match(self.words, text)
        assert found, f"the status line says {text!r}"
        return found.groupdict()

    def says(self, pattern: str) -> Condition:
        """The status line matches."""
        return text_matches(self.status, pattern)

    def panel(self, name: str) -> str:
        """Selector of a panel's picture."""
        return f".metarules-panel-{name} img"

    @property
    def all_panels(self) -> str:
        return ", ".join(self.panel(name) for name in self.panels)

    def sources(self) -> dict[str, list[str]]:
        """Address of each panel's picture, a new one each time that a picture is sent."""
        return {name: self.lab.image_sources(self.panel(name)) for name in self.panels}

    def pictures(self) -> dict[str, bytes]:
        """The bytes of each panel's picture; a panel that is not there, as while B is sent away, is left out."""
        return {name: found[0] for name in self.panels if (found := self.lab.pictures(self.panel(name)))}

    def changed(self, before: dict[str, bytes]) -> set[str]:
        """The panels that show another picture than they did."""
        now = self.pictures()
        return {name for name in self.panels if now[name] != before[name]}
