"""A plain function as a rule: the shortest way to try an idea."""

from __future__ import annotations

from collections.abc import Callable

from metarules.base_model import BaseModelState
from metarules.update_rule.contract import Batch, UpdateRule

Step = Callable[[BaseModelState, Batch], BaseModelState]


class FunctionRule(UpdateRule):
    """A rule without theta whose step is a plain function, so that every menu, table and explorer can take it.

    A rule with theta, or with settings of its own, is a class: see docs/extending.md.

    Args:
        function: from phi and a batch with x [*tasks, batch, n_0] to the phi after the step. Try `check_rule` on it.
        label: what menus call the rule; the function's name by default.

    Raises:
        TypeError: what is not a function.

    Example:
        def sleepy(phi, batch):
            return phi.with_layers([LayerState(0.99 * p.W, p.b, p.V) for p in phi.layers])

        InnerLoopExplorer(FunctionRule(sleepy), task)
    """

    label = "A function"

    def __init__(self, function: Step, label: str | None = None) -> None:
        super().__init__()
        if not callable(function) or isinstance(function, type | UpdateRule):
            raise TypeError(f"function is {function!r}; allowed: a function from (phi, batch) to phi")
        self.function = function
        self._label: str = label or str(getattr(function, "__name__", "A function"))

    @classmethod
    def of(cls, rule: UpdateRule | Step) -> UpdateRule:
        """A rule as it is, a function as a rule."""
        return rule if isinstance(rule, UpdateRule) else cls(rule)

    @property
    def menu_label(self) -> str:
        """What menus call it."""
        return self._label

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        """One step of the function."""
        return self.function(phi, batch)
