"""The contract every rule keeps, learned or hand-written: `rule(phi, batch) -> phi`.

A rule owns its settings and meta-parameters theta; all that changes while a base model learns is phi.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metarules._checks import check_examples, check_fields, check_kind, check_number, check_tensor, check_whole, shown
from metarules.base_model import BaseModelState, check_input
from metarules.base_model import Batch as Batch


@dataclass(frozen=True)
class InnerSettings:
    """How a rule is best run: what an evaluation uses unless told otherwise. (The step size is the rule's own.)

    Attributes:
        steps: inner steps.
        batch_size: examples a step sees.
        weight_std: spread of the initial W and V.
        bias_std: spread of the initial b.
    """

    steps: int = 100  # the hand rule's recipe (CONTRIBUTING, Sources)
    batch_size: int = 200  # the hand rule's recipe
    weight_std: float = 0.01  # authors' code
    bias_std: float = 0.0  # the hand rule's recipe keeps b at 0

    def __post_init__(self) -> None:
        check_number("steps", self.steps, low=0, integer=True)
        check_number("batch_size", self.batch_size, low=2, integer=True)
        check_fields(self, "weight_std", "bias_std", low=0)


@dataclass(frozen=True)
class Trace:
    """Every intermediate of one inner step, keyed by layer l (0 input .. L top), absent where a layer has none.

    Attributes:
        z, x: pre- and post-activations [*tasks, batch, n_l].
        d: signal arriving at a layer from above [*tasks, batch, n_l, D].
        h: hidden state of the update network [*tasks, batch, n_l, C].
        delta: signal a layer sends down [*tasks, batch, n_l, D].
        terms: `terms[l][name]`, each term of change_W before normalisation and mixing [*tasks, n_{l-1}, n_l].
        change_W, change_b: what the step *subtracts*, before the step size: the change with its sign turned, as the
            authors' code has it [*tasks, n_{l-1}, n_l] and [*tasks, n_l]. `delta_W`, `delta_b` have the change's own.
        next_state: phi after the step.
    """

    z: dict[int, Tensor]
    x: dict[int, Tensor]
    next_state: BaseModelState
    d: dict[int, Tensor] = field(default_factory=dict)
    h: dict[int, Tensor] = field(default_factory=dict)
    delta: dict[int, Tensor] = field(default_factory=dict)
    terms: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    change_W: dict[int, Tensor] = field(default_factory=dict)
    change_b: dict[int, Tensor] = field(default_factory=dict)

    @property
    def delta_W(self) -> dict[int, Tensor]:
        """The paper's delta-W: what is added to W before decay and step size, -change_W [*tasks, n_{l-1}, n_l]."""
        return {l: -change for l, change in self.change_W.items()}

    @property
    def delta_b(self) -> dict[int, Tensor]:
        """The same for b, -change_b [*tasks, n_l]."""
        return {l: -change for l, change in self.change_b.items()}


class UpdateRule(nn.Module):
    """Base class of all rules; calling a rule checks the input, then takes one step.

    A subclass writes `step_traced`, or `step` where it has nothing to trace, or both where `step` can be cheaper.
    theta, where a rule has any, are its `nn.Parameter`s, so that optimisers, `state_dict` and
    `torch.func.functional_call` work as for any module.

    A learned rule that is to be saved, loaded and meta-trained by name keeps three promises more, and its class is
    handed to `metarules.register_kind`: its constructor takes `(settings, *, generator)`, the settings a frozen
    dataclass (an empty one where there is nothing to set) and theta drawn from the generator, or from one of its own
    where that is None; `rule.settings` holds the settings; and buffers follow from the settings, since files and
    checkpoints keep parameters alone.
    """

    label: ClassVar[str] = "Update rule"  # what menus call the rule; a subclass without one goes by its class name
    needs_labels: bool = False  # True for the supervised rules: batch.y must be given
    recommended: InnerSettings = InnerSettings()  # how this rule is best run; a shipped rule's comes from its card
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})  # in older files: name of a setting or module -> new
    card: Mapping[str, Any] = MappingProxyType({})  # a loaded rule's card: settings, seed, revision, minutes, curve

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.label = cls.__dict__.get("label", cls.__name__)  # its own: a variant of Hebb is not called Hebb

    @property
    def menu_label(self) -> str:
        """What a menu calls this very rule: its class's label, unless it has more to say."""
        return self.label

    def for_classes(self, n_classes: int) -> UpdateRule:
        """This rule, fit for a task of so many classes; only supervised rules care."""
        return self

    def forward(self, phi: BaseModelState, batch: Batch | Tensor) -> BaseModelState:
        """One inner step.

        Args:
            phi: the base model.
            batch: a `Batch`, or its x alone: [*tasks, batch, n_0], at least two examples.

        Returns:
            phi after the step, of the same shapes.

        Raises:
            TypeError: phi or x is not what it should be.
            ValueError: shapes, dtype or device do not fit, one example alone, NaN or infinity (in phi as well), labels
                missing.
        """
        return check_returned(self.step(phi, self.check(phi, batch)))

    def trace(self, phi: BaseModelState, batch: Batch | Tensor) -> Trace:
        """The same step with every intermediate kept. Arguments and errors as for calling the rule."""
        return self.step_traced(phi, self.check(phi, batch))

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        """One inner step on input already checked (what inner loops call)."""
        return self.step_traced(phi, batch).next_state

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        """`trace` on input already checked."""
        raise NotImplementedError(
            f"{type(self).__name__} must define step, which returns phi, or step_traced, which returns a Trace"
        )

    def init_extra(self, phi: BaseModelState, generator: torch.Generator | None = None) -> BaseModelState:
        """Add whatever tensors this rule carries along in `phi.extra` (a decoder, a read-out); none by default."""
        return phi

    def take(self, other: UpdateRule) -> None:
        """Take over the theta of another rule of the same class and sizes.

        Raises:
            ValueError: another class, or theta of other names or shapes.
        """
        self._take(other, dict(other.named_parameters()))

    def _take(self, other: UpdateRule, theta: Mapping[str, Tensor]) -> None:
        own = dict(self.named_parameters())
        if type(other) is not type(self):
            raise ValueError(f"other is a {type(other).__name__}; allowed: a {type(self).__name__}, as this rule is")
        shapes = ({name: tuple(p.shape) for name, p in each.items()} for each in (own, theta))
        differ = {name for name, _ in set.symmetric_difference(*(set(each.items()) for each in shapes))}
        if differ:
            raise ValueError(f"other differs in {', '.join(sorted(differ))}; allowed: theta of this rule's sizes")
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(theta[name])

    def check(self, phi: BaseModelState, batch: Batch | Tensor) -> Batch:
        """Check a batch against phi and this rule; returns it with phi's task dimensions."""
        check_kind("phi", phi, BaseModelState)
        if isinstance(batch, Tensor):
            batch = Batch(batch)
        if not isinstance(batch, Batch):
            raise TypeError(f"batch must be a Batch or a tensor x, got {type(batch).__name__}")
        theta = next(self.parameters(), None)
        if theta is not None:
            if theta.dtype != phi.dtype:
                raise ValueError(
                    f"phi has dtype {phi.dtype}; allowed: {theta.dtype}, the dtype of this rule's theta (call "
                    f"rule.to({phi.dtype}) or phi.to({theta.dtype}); a rule read from arrays has the arrays' dtype)"
                )
            check_tensor("phi (against the rule's theta)", phi.layers[0].W, like=theta, finite=False)
        x = check_input(phi, batch.x)
        return Batch(x, check_labels(batch.y, x) if self.needs_labels else None)


def check_returned(made: Any) -> BaseModelState:
    """What a rule's step returned, if it is a phi.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(made, BaseModelState):
        raise TypeError(f"the rule's step returned {shown(made)}; allowed: phi, a BaseModelState")
    return made


def check_labels(y: Tensor | None, x: Tensor) -> Tensor:
    """Check class numbers against the examples they label.

    Args:
        y: [*tasks, batch], whole numbers from 0; [batch] is shared by all tasks.
        x: [*tasks, batch, n_0].

    Returns:
        y as int64 [*tasks, batch].

    Raises:
        ValueError: labels missing, of another shape, or negative.
        TypeError: labels that are not whole numbers.
    """
    if y is None:
        raise ValueError("batch.y is None; allowed: class numbers [*tasks, batch], since this rule is supervised")
    if check_whole("batch.y", y).ndim == 1 and y.shape[0] == x.shape[-2]:
        y = y.expand(x.shape[:-1])
    if y.shape != x.shape[:-1]:
        raise ValueError(f"batch.y has shape {list(y.shape)}; allowed: {list(x.shape[:-1])}")
    if int(y.min()) < 0:
        raise ValueError(f"batch.y holds {int(y.min())}; allowed: class numbers from 0")
    check_examples("batch.x", x)
    return y.long()
