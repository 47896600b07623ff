"""`InnerLoopExplorer` as a reader has it before her: what it says, and what it ought to say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .conditions import Condition
from .widget import Widget

PANELS = ("embedding", "filters", "alignment", "accuracy")

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


class Explorer(Widget):
    """The one `InnerLoopExplorer` of a page."""

    panels = PANELS
    words = r"^(?P<rule>.+), step (?P<step>\d+) of (?P<last>\d+): few-shot accuracy (?P<accuracy>\d\.\d\d)\b"

    def shown(self) -> Shown:
        """The status line, which must be about a step and not about work or an error."""
        said = self.said()
        return Shown(said["rule"], int(said["step"]), int(said["last"]), float(said["accuracy"]))

    def expected_accuracy(self) -> float:
        """What the accuracy should be at the step shown, by an independent computation in the kernel."""
        step = self.shown().step
        return float(self.lab.kernel_value(f"_accuracy_again({step})", setup=RECOMPUTE))

    def at_step(self, step: int) -> Condition:
        return self.says(rf", step {step} of ")

    def finished(self, rule: str) -> Condition:
        """The status line speaks of a step of this rule."""
        return self.says(rf"^{re.escape(rule)}, step \d+ of ")
