"""Claims of a lesson's prose, each printed beside the number that shows it, and checked whenever the lesson is run."""

from __future__ import annotations

import math

from torch import Tensor

from metarules.evaluation.results import CLEAR


class ClaimFailed(AssertionError):
    """A number does not show what the text says of it: in a notebook a sentence, in place of a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython looks for this name
        return [f"This is not what the text says (was something changed above?): {self}."]


def claim(
    what: str, value: float | Tensor, *, above: float = -math.inf, below: float = math.inf, error: float | Tensor = 0.0
) -> None:
    """Print a number with the bounds that the text gives it, and check them.

    Args:
        what: what the number is.
        value: the number.
        above, below: the bounds; at least one.
        error: standard error of a number that is an average: it must then clear each bound by two of these.

    Raises:
        ValueError: no bound is given.
        ClaimFailed: the number is not within its bounds.

    Example:
        claim("learned minus start", gain, above=0, error=error)  # ✓ learned minus start: 0.036 ± 0.002, above 0
    """
    bounds = [f"{word} {bound:g}" for word, bound in (("above", above), ("below", below)) if math.isfinite(bound)]
    if not bounds:
        raise ValueError("above and below are not given; allowed: one of them, or both")
    whole = isinstance(value, int)
    value, error = (float(n.detach() if isinstance(n, Tensor) else n) for n in (value, error))
    digits = 3 if error else 0 if whole or abs(value) >= 10 else 2
    number = f"{round(value, digits) + 0.0:.{digits}f}" + (f" ± {error:.3f}" if error else "")
    holds = above + CLEAR * error < value < below - CLEAR * error
    sentence = f"{what}: {number}, {'' if holds else 'not '}{' and '.join(bounds)}"
    if not holds:
        raise ClaimFailed(sentence)
    print(f"✓ {sentence}")
