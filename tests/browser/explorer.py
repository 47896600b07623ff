"""`InnerLoopExplorer` as a reader has it before her: what it says, what it shows, and what it ought to say."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from .conditions import Condition, text_matches
from .page import LabPage

RESET_SECONDS = 10
PANELS = ("embedding", "filters", "alignment", "accuracy")
STATUS = r"^(?P<rule>.+), step (?P<step>\d+) of (?P<last>\d+): few-shot accuracy (?P<accuracy>\d\.\d\d)\b"

# The number once more, by the evaluation's own path: no recording, no closed-form probe, no widget.
RECOMPUTE = """
def _accuracy_again(step):
    from metarules.base_model import forward
    from metarules.evaluation import few_shot_accuracy, learned_state
    from metarules.widgets import InnerLoopExplorer

    found = {name: value for name, value in globals().items() if isinstance(value, InnerLoopExplorer)}
    shown = [found[name] for name in sorted(found, key=lambda name: not name.startswith("_"))][-1]
    e = shown.exploration
    rule = shown._rules[shown.rule_name]
    phi = learned_state(rule, e.task, sizes=e.sizes, steps=step, seed=e.seed)
    return float(few_shot_accuracy(forward(phi, e.task.x).features, e.task.y, n_splits=5).mean())
"""


@dataclass(frozen=True)
class Shown:
    """What the status line says."""

    rule: str
    step: int
    last: int
    accuracy: float


class Explorer:
    """The one `InnerLoopExplorer` of a page, just as it opened when this object is made."""

    slider = "metarules-step-slider"
    status = ".metarules-status"

    def __init__(self, lab: LabPage) -> None:
        self.lab = lab
        self._opened = self.pictures(), self.lab.text(self.status)

    def reset(self) -> None:
        """Press Reset, and wait until everything is as it was when this object was made."""
        self.lab.click("metarules-reset")
        deadline = time.monotonic() + RESET_SECONDS
        while (self.pictures(), self.lab.text(self.status)) != self._opened:
            assert time.monotonic() < deadline, f"Reset left {self.lab.text(self.status)!r}, not {self._opened[1]!r}"
            self.lab.page.wait_for_timeout(50)
        self.lab.wait_for_quiet(self.status)

    def shown(self) -> Shown:
        """The status line, which must be about a step and not about work or an error."""
        said = self.lab.text(self.status).strip()
        found = re.match(STATUS, said)
        assert found, f"the status line says {said!r}"
        return Shown(found["rule"], int(found["step"]), int(found["last"]), float(found["accuracy"]))

    def expected_accuracy(self) -> float:
        """What the accuracy should be at the step shown, by an independent computation in the kernel."""
        step = self.shown().step
        return float(self.lab.kernel_value(f"_accuracy_again({step})", setup=RECOMPUTE))

    def panel(self, name: str) -> str:
        """Selector of a panel's picture."""
        return f".metarules-panel-{name} img"

    @property
    def all_panels(self) -> str:
        return ", ".join(self.panel(name) for name in PANELS)

    def sources(self, name: str) -> list[str]:
        """Address of a panel's picture, a new one each time that a picture is sent."""
        return self.lab.image_sources(self.panel(name))

    def pictures(self) -> dict[str, bytes]:
        """The bytes of each panel's picture."""
        return {name: self.lab.pictures(self.panel(name))[0] for name in PANELS}

    def changed(self, before: dict[str, bytes]) -> set[str]:
        """The panels that show another picture than they did."""
        now = self.pictures()
        return {name for name in PANELS if now[name] != before[name]}

    def says(self, pattern: str) -> Condition:
        """The status line matches."""
        return text_matches(self.status, pattern)

    def at_step(self, step: int) -> Condition:
        return self.says(rf", step {step} of ")

    def finished(self, rule: str) -> Condition:
        """The status line speaks of a step of this rule."""
        return self.says(rf"^{re.escape(rule)}, step \d+ of ")
