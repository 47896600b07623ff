"""`check_rule`: does a rule keep the contract? Every breach is one sentence, never a traceback."""

from __future__ import annotations

import copy
import html
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, InitSettings, LayerState, init_state
from metarules.update_rule.contract import Batch, UpdateRule
from metarules.update_rule.function import FunctionRule

NETS = ((7, 6, 5, 4), (5, 3), (4, 6, 3))  # sizes that differ everywhere, so that a wrong axis cannot fit by chance
_BATCH, _CLASSES = 12, 3
_MANY = 30  # steps after which all must still be finite
_CLOSE = 1e-7  # relative, in float64: far above rounding, far below anything meant


@dataclass(frozen=True)
class Finding:
    """One clause of the contract, held against a rule.

    Attributes:
        clause: what was looked at.
        holds: whether the rule keeps it; None where it could not be tried or does not apply.
        sentence: what was found; where the rule breaks the clause, what the contract wants as well.
    """

    clause: str
    holds: bool | None
    sentence: str


@dataclass(frozen=True)
class RuleCheck:
    """What `check_rule` found.

    Attributes:
        rule: what the rule is called.
        findings: one for each clause, in the order of `CLAUSES`.
    """

    rule: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no clause is broken."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The clauses that are broken."""
        return tuple(f for f in self.findings if f.holds is False)

    def __repr__(self) -> str:
        verdict = "keeps the contract" if self.passed else f"breaks {len(self.failures)} of its clauses"
        lines = [f"{_SIGN[f.holds]} {f.clause}: {f.sentence}" for f in self.findings]
        return "\n".join([f"{self.rule} {verdict}", *lines])

    def _repr_html_(self) -> str:
        """A table for JupyterLab; signs and words carry the verdict."""
        head, *_ = repr(self).splitlines()
        rows = "".join(
            f'<tr><td style="text-align: left; white-space: nowrap">{_SIGN[f.holds]} {html.escape(f.clause)}</td>'
            f'<td style="text-align: left">{html.escape(f.sentence)}</td></tr>'
            for f in self.findings
        )
        return f"<p><strong>{html.escape(head)}</strong></p><table>{rows}</table>"


_SIGN = {True: "✓", False: "✗", None: "–"}


def check_rule(rule: Any) -> RuleCheck:
    """Hold a rule against the contract of `UpdateRule`, on small nets and random batches, in about a second.

    Args:
        rule: an `UpdateRule`, or a function from (phi, batch) to phi. Anything else is answered by a sentence too.

    Returns:
        What was found, clause by clause; `check.passed`, `check.failures`. A rule whose step cannot be taken is not
        tried on the later clauses. `PaperRule` fails, as the authors' rule would: it is tied to one width of the top
        layer.

    Example:
        check_rule(get_rule("hebb")).passed
    """
    try:
        fit = _as_rule(rule)
    except _BreachError as breach:
        findings = [Finding("a rule", False, str(breach))]
        return RuleCheck("This", tuple(findings + [_untried(name) for name in list(CLAUSES)[1:]]))
    findings = []
    for clause, test in CLAUSES.items():
        if any(f.holds is False and f.clause in _NEEDED for f in findings):
            findings.append(_untried(clause))
            continue
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            try:
                findings.append(Finding(clause, True, test(fit)))
            except _NotTriedError as reason:
                findings.append(Finding(clause, None, str(reason)))
            except _BreachError as breach:
                findings.append(Finding(clause, False, str(breach)))
    return RuleCheck(fit.menu_label, tuple(findings))


class _BreachError(Exception):
    """A clause is broken; the message is the sentence."""


class _NotTriedError(Exception):
    """A clause does not apply; the message says why."""


def _untried(clause: str) -> Finding:
    return Finding(clause, None, "not tried, since a clause above is broken")


def _as_rule(rule: Any) -> UpdateRule:
    if isinstance(rule, type):
        raise _BreachError(f"this is the class {rule.__name__}; the contract wants an object: {rule.__name__}()")
    if isinstance(rule, UpdateRule):
        return rule.for_classes(_CLASSES) if rule.needs_labels else rule
    if not callable(rule):
        raise _BreachError(f"this is {_named(rule)}; the contract wants an UpdateRule or a step(phi, batch)")
    try:
        inspect.signature(rule).bind("phi", "batch")
    except (TypeError, ValueError) as error:
        wants = "a function of two arguments, phi and batch"
        raise _BreachError(f"the function does not fit ({error}); the contract wants {wants}") from None
    return FunctionRule(rule)


# ---- the parts that the clauses are made of


def _in(rule: UpdateRule, dtype: torch.dtype) -> UpdateRule:
    """A copy of the rule in a dtype, so that the caller's own is left alone."""
    try:
        return copy.deepcopy(rule).to(dtype)
    except Exception as error:
        raise _BreachError(f"the rule cannot be copied ({_said(error)}); the contract wants a plain module") from None


def _phi(
    rule: UpdateRule, sizes: Sequence[int] = NETS[0], tasks: tuple[int, ...] = (), dtype: torch.dtype = torch.float64
) -> BaseModelState:
    g = torch.Generator().manual_seed(0)
    phi = init_state(sizes, tasks=tasks, settings=InitSettings(0.3, 0.1), generator=g, dtype=dtype)
    return rule.init_extra(phi, g)


def _batch(
    rule: UpdateRule, phi: BaseModelState, seed: int = 1, dead: bool = False
) -> Batch:  # dead: one input is the same for all
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(*phi.tasks, _BATCH, phi.sizes[0], generator=g, dtype=phi.dtype)
    if dead:
        x[..., 0] = 0.0
    y = (torch.arange(_BATCH) % _CLASSES).expand(x.shape[:-1])
    return Batch(x, y if rule.needs_labels else None)


def _step(rule: UpdateRule, phi: BaseModelState, batch: Batch, where: str = "") -> BaseModelState:
    """A step; whatever goes wrong becomes a sentence."""
    try:
        checked = rule.check(phi, batch)
        after: Any = (rule.function if isinstance(rule, FunctionRule) else rule.step)(phi, checked)
    except Exception as error:
        if batch.y is None and "None" in str(error):
            wants = "a step that does without batch.y, which is None unless the class says needs_labels = True"
        else:
            wants = "a step that takes any number of layers, units, examples and leading task dimensions"
        raise _BreachError(f"the step stops{where} with {_said(error)}; the contract wants {wants}") from None
    if not isinstance(after, BaseModelState):
        wants = "the phi after the step: end with `return phi.with_layers(layers)`"
        raise _BreachError(f"the step returns {_named(after)}; the contract wants {wants}")
    return after


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) < 160 else text[:157] + '...'}"


def _named(thing: Any) -> str:
    name = type(thing).__name__
    return "None" if thing is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _parts(phi: BaseModelState) -> dict[str, Tensor]:
    found = {f"{kind} of layer {l}": getattr(p, kind) for l, p in enumerate(phi.layers, 1) for kind in "WbV"}
    return found | {f"extra {name!r}": t for name, t in phi.extra.items()}


def _differ(one: BaseModelState, other: BaseModelState) -> str | None:
    """Name of the first part in which two states differ by more than rounding."""
    others = _parts(other)
    for name, a in _parts(one).items():
        b = others.get(name)
        if b is None or b.shape != a.shape:
            return name
        scale = max(float(a.detach().abs().max()), 1e-6)
        if not bool((a - b).abs().max() <= _CLOSE * scale):
            return name
    return None


def _reordered(phi: BaseModelState, orders: Sequence[Tensor]) -> BaseModelState:
    pairs = zip(phi.layers, orders[:-1], orders[1:], strict=True)
    return phi.with_layers([LayerState(p.W[a][:, b], p.b[b], p.V[a][:, b]) for p, a, b in pairs])


# ---- the clauses


def _takes_a_step(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float32)
    phi = _phi(fit, dtype=torch.float32)
    before = phi.map(torch.clone)
    after = _step(fit, phi, _batch(fit, phi))
    if all(torch.equal(old.W, new.W) for old, new in zip(before.layers, after.layers, strict=False)):
        raise _BreachError("the step leaves every W as it was; the contract wants a step that changes W")
    return "takes phi and a batch, returns another phi"


def _keeps_shapes(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float64)
    for sizes in NETS:
        net = "-".join(map(str, sizes))
        for tasks in ((), (2,)):
            where = f" on {'two nets' if tasks else 'a net'} of {net}{' at once' if tasks else ''}"
            phi = _phi(fit, sizes, tasks)
            batch = _batch(fit, phi)
            after = _step(fit, phi, batch, where)
            for name, t in _parts(phi).items():
                got = _parts(after).get(name)
                if got is None or got.shape != t.shape:
                    back = "is missing" if got is None else f"comes back as {list(got.shape)}"
                    raise _BreachError(f"{name} {back}{where}; the contract wants {list(t.shape)}, the shape it had")
            if tasks:
                _check_alone(fit, phi, batch, after)
    return "W, b and V keep theirs on nets of three, one and two layers, with and without task dimensions"


def _check_alone(rule: UpdateRule, phi: BaseModelState, batch: Batch, together: BaseModelState) -> None:
    for i in range(2):
        alone = _step(rule, phi.task(i), Batch(batch.x[i], None if batch.y is None else batch.y[i]))
        if name := _differ(together.task(i), alone):
            wants = "leading task dimensions left alone: take means over dim -2, and .mT in place of .T"
            raise _BreachError(f"two nets at once give another {name} than each alone; the contract wants {wants}")


def _leaves_phi_alone(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float64)
    phi = _phi(fit)
    batch = _batch(fit, phi)
    before, x = phi.map(torch.clone), batch.x.clone()
    _step(fit, phi, batch)
    for name, t in _parts(before).items():
        if not torch.equal(t, _parts(phi)[name]):
            wants = "a new tensor, W + change: no +=, no assignment to a part of W"
            raise _BreachError(f"the step overwrites {name} of the phi it was given; the contract wants {wants}")
    if not torch.equal(x, batch.x):
        raise _BreachError("the step overwrites batch.x; the contract wants the batch left as it is")
    return "the phi and the batch that it was given are as they were"


def _keeps_dtype(rule: UpdateRule) -> str:
    for dtype in (torch.float32, torch.float64):
        fit = _in(rule, dtype)
        phi = _phi(fit, dtype=dtype)
        named = str(dtype).removeprefix("torch.")
        after = _step(fit, phi, _batch(fit, phi), f" on a phi of {named}")
        for name, t in _parts(after).items():
            if t.dtype != dtype:
                got = str(t.dtype).removeprefix("torch.")
                wants = "the dtype of phi: make tensors by zeros_like or with dtype=W.dtype"
                raise _BreachError(f"{name} comes back as {got} from a phi of {named}; the contract wants {wants}")
    return "float32 in, float32 out; float64 in, float64 out"


def _stays_finite(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float32)
    how = fit.recommended
    for dead in (False, True):
        g = torch.Generator().manual_seed(0)
        init = InitSettings(how.weight_std, how.bias_std)
        phi = fit.init_extra(init_state(NETS[0], settings=init, generator=g), g)
        for t in range(1, _MANY + 1):
            with torch.no_grad():
                phi = _step(fit, phi, _batch(fit, phi, seed=t, dead=dead), f" at step {t}")
            for name, tensor in _parts(phi).items():
                if not bool(tensor.isfinite().all()):
                    where = " with an input that never changes" if dead else ""
                    wants = "finite numbers: add a small number before you divide or take a root"
                    raise _BreachError(
                        f"{name} holds NaN or infinity after step {t}{where}; the contract wants {wants}"
                    )
    return f"still after {_MANY} steps, also with an input that never changes"


def _is_deterministic(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float64)
    phi = _phi(fit)
    batch = _batch(fit, phi)
    once, again = _step(fit, phi, batch), _step(fit, phi, batch)
    if name := _differ(once, again):
        wants = "the same result each time: no random numbers, and whatever the rule remembers in phi.extra"
        raise _BreachError(f"the same phi and batch give another {name} the second time; the contract wants {wants}")
    return "the same phi and batch give the same step"


def _ignores_order_of_examples(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float64)
    phi = _phi(fit)
    batch = _batch(fit, phi)
    order = (5 * torch.arange(_BATCH) + 3) % _BATCH  # no example keeps its place
    other = Batch(batch.x[order], None if batch.y is None else batch.y[order])
    if name := _differ(_step(fit, phi, batch), _step(fit, phi, other)):
        wants = "a batch to be a set: sums and means over the examples, none told apart by its place"
        raise _BreachError(f"the same examples in another order give another {name}; the contract wants {wants}")
    return "a batch is a set"


def _treats_neurons_alike(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float64)
    phi = _phi(fit)
    if phi.extra:
        raise _NotTriedError("not tried, since what the rule carries in phi.extra has an order of its own")
    batch = _batch(fit, phi)
    g = torch.Generator().manual_seed(3)
    orders = [torch.randperm(n, generator=g) for n in phi.sizes]
    other = _step(fit, _reordered(phi, orders), Batch(batch.x[:, orders[0]], batch.y))
    if name := _differ(_reordered(_step(fit, phi, batch), orders), other):
        wants = "every neuron treated alike: none may be told its number or its place in the layer"
        raise _BreachError(f"with the neurons in another order {name} changes otherwise; the contract wants {wants}")
    return "neurons in another order change in that order"


def _lets_gradients_through(rule: UpdateRule) -> str:
    fit = _in(rule, torch.float64)
    theta = {name: p for name, p in fit.named_parameters() if p.requires_grad}
    if not theta:
        raise _NotTriedError("no theta, so there is nothing to meta-train")
    phi = _phi(fit)
    for t in range(3):
        phi = _step(fit, phi, _batch(fit, phi, seed=t))
    loss = sum((t.square().sum() for t in _parts(phi).values()), torch.zeros((), dtype=torch.float64))
    parts: dict[str, Tensor | None] = dict.fromkeys(theta)
    if loss.requires_grad:
        parts = dict(zip(theta, torch.autograd.grad(loss, list(theta.values()), allow_unused=True), strict=True))
    if lost := [name for name, part in parts.items() if part is None and _matters(fit, theta[name])]:
        wants = "theta kept in the graph: no float(), .item(), .detach() or no_grad()"
        raise _BreachError(f"no gradient reaches {', '.join(lost)}; the contract wants {wants}")
    if wild := [name for name, part in parts.items() if part is not None and not bool(part.isfinite().all())]:
        wants = "finite gradients: add a small number under a root"
        raise _BreachError(f"the gradient for {', '.join(wild)} is NaN or infinite; the contract wants {wants}")
    used = [theta[name] for name, part in parts.items() if part is not None]
    return f"they reach the {sum(p.numel() for p in used):,} numbers of theta that the step uses"


def _matters(rule: UpdateRule, part: Tensor) -> bool:
    """Whether the step changes with a part of theta: switched-off parts have no gradient, and need none."""
    phi = _phi(rule)
    batch = _batch(rule, phi)
    with torch.no_grad():
        before = _step(rule, phi, batch)
        part.add_(0.1)
        return _differ(before, _step(rule, phi, batch)) is not None


CLAUSES: dict[str, Callable[[UpdateRule], str]] = {
    "a step": _takes_a_step,
    "phi untouched": _leaves_phi_alone,
    "same again": _is_deterministic,
    "shapes": _keeps_shapes,
    "dtype": _keeps_dtype,
    "finite": _stays_finite,
    "order of examples": _ignores_order_of_examples,
    "order of neurons": _treats_neurons_alike,
    "gradients to theta": _lets_gradients_through,
}
_NEEDED = ("a step", "phi untouched", "same again", "shapes")  # where these are broken, the later clauses say nothing
