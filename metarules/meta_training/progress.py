"""The progress bar of a run: how far, how long still, meta-loss and validation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from torch import Tensor
from tqdm import tqdm

from metarules.meta_training.outer_loop import MetaStep

SMOOTHING = 0.95  # ours: one meta-step's loss says little, about twenty tell where it is


class Progress:
    """A bar on stderr; a line of text for every validation, so that a file of them reads well too.

    Args:
        total: meta-steps of the run.
        quiet: show nothing at all.
    """

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.loss: float | None = None
        self.skipped = 0
        self.bar: Any = None
        self.total = total

    def __enter__(self) -> Progress:
        # no bar into a file: there, the lines of the validations are enough
        self.bar = tqdm(total=self.total, unit="step", disable=self.quiet or not sys.stderr.isatty(), smoothing=0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def watch(self, step: MetaStep, scores: Mapping[str, Tensor] | None) -> None:
        """Move the bar to a meta-step; print its validation, if it has one."""
        if step.loss == step.loss:  # not NaN
            self.loss = step.loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * step.loss
        self.skipped = step.skipped_so_far
        loss = "" if self.loss is None else f"loss {self.loss:.3f}"
        if not self.bar.disable:
            if self.bar.n == 0 and step.number > 1:  # resumed: what was done before says nothing of the pace
                self.bar.initial = self.bar.n = step.number - 1
            self.bar.set_postfix_str(loss + (f", {self.skipped} skipped" if self.skipped else ""), refresh=False)
            self.bar.update(step.number - self.bar.n)
        if scores is not None:
            means = ", ".join(f"{kind} {float(found.mean()):.3f}" for kind, found in scores.items())
            skipped = f", updates skipped so far: {self.skipped}" if self.skipped else ""
            self.say(f"meta-step {step.number}/{self.total}: " + (f"{loss}, " if loss else "") + means + skipped)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self.quiet:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
