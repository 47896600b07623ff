"""Meta-training with a small fixed budget in one call: for a lesson, or to see whether an idea is worth a run."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, replace

from metarules._checks import check_number
from metarules._work import Progress
from metarules.meta_training.outer_loop import MetaStep, MetaTrainer, averaged_rule
from metarules.meta_training.plan import PRESETS
from metarules.update_rule import UpdateRule

# The preset `demo` with fewer base models at a time and shorter unrolls: ours, so that a rule of a few numbers takes
# seconds and a `LocalRule` a minute for the usual 60 meta-steps.
SHORT = replace(PRESETS["demo"].train, meta_steps=60, particles=4, groups=4, horizon=(16, 64), warm_up=5, average=0.9)


@dataclass(frozen=True, eq=False)
class ShortRun:
    """What a short run leaves behind.

    Attributes:
        rule: the rule with its averaged theta; the one given is as it was.
        steps: what each meta-step reported.
    """

    rule: UpdateRule
    steps: tuple[MetaStep, ...]

    @property
    def losses(self) -> list[float]:
        """The meta-objective of each meta-step, on other tasks every time, and so noisy."""
        return [step.loss for step in self.steps]


def meta_train(
    rule: UpdateRule,
    meta_steps: int = SHORT.meta_steps,
    *,
    learning_rate: float = SHORT.learning_rate,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> ShortRun:
    """Meta-train a copy of a rule for a few steps, on letters, strokes and random decoders, by `MetaTrainer`.

    Args:
        rule: an unsupervised rule with theta.
        meta_steps: updates of theta.
        learning_rate: AdamW's. The usual one suits hundreds of numbers near their start; two numbers that have far to
            go want ten times more.
        seed: of everything random.
        progress: called with (done, all) after every meta-step.
        stop: set it to end after the present meta-step, with what was learned by then.

    Returns:
        The trained copy and what each meta-step reported.

    Raises:
        ValueError: a rule that has no theta or needs labels, numbers out of range.

    Example:
        trained = meta_train(my_rule, learning_rate=0.05).rule
    """
    check_number("meta_steps", meta_steps, low=1, integer=True)
    settings = replace(SHORT, meta_steps=meta_steps, learning_rate=learning_rate, seed=seed)
    trainer = MetaTrainer(copy.deepcopy(rule), settings, PRESETS["demo"].data)
    steps: list[MetaStep] = []
    while len(steps) < meta_steps and not (stop is not None and stop.is_set()):
        steps.append(trainer.step())
        if progress is not None:
            progress(len(steps), meta_steps)
    return ShortRun(averaged_rule(trainer), tuple(steps))
