"""What the gradient rules share: tensors carried in `phi.extra`, and a step of SGD or Adam on everything at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_choice, check_tensor
from metarules.base_model import Activations, BaseModelState
from metarules.classic_rules.backward import Signals
from metarules.classic_rules.base import ClassicRule, RuleSettings
from metarules.update_rule import Batch, Trace

BETAS = (0.9, 0.999)  # memory of Adam's two means: Kingma and Ba, ICLR 2015
ADAM_EPS = 1e-8  # same source; its square stands under the root here, so that zero gradients differentiate too
OPTIMISERS = ("sgd", "adam")


@dataclass(frozen=True)
class GradientSettings(RuleSettings):
    """Settings shared by the gradient rules."""

    lr: float = 0.3  # ours; each rule gives its own reason
    optimiser: str = "sgd"  # the plain gradient; "adam" holds one step size good for any width

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("optimiser", self.optimiser, OPTIMISERS)


class GradientRule(ClassicRule):
    """A rule that follows a gradient and carries further weights, which learn alike, in `phi.extra`.

    A subclass writes `carried` and `spread`, and ends its step with `descend`.
    """

    settings: GradientSettings

    def carried(self, phi: BaseModelState) -> dict[str, tuple[int, ...]]:
        """Shapes, without task dimensions, of the weights that this rule keeps in `phi.extra`, by name."""
        raise NotImplementedError(f"{type(self).__name__} must define carried")

    def spread(self) -> float:
        """Standard deviation of the carried matrices' initial values; carried biases start at 0."""
        raise NotImplementedError(f"{type(self).__name__} must define spread")

    def init_extra(self, phi: BaseModelState, generator: torch.Generator | None = None) -> BaseModelState:
        """Put what the rule carries into `phi.extra`; what is there already stays.

        Args:
            phi: the base model.
            generator: source of the truncated normal numbers; None draws from seed 0.

        Returns:
            phi with the tensors of `carried` and, for Adam, two running means of every weight's gradient
            (`adam_m_W1`, `adam_v_W1`, ..) and a count of steps (`adam_t`).
        """
        generator = generator or torch.Generator(phi.device).manual_seed(0)
        fresh = {}
        for name, shape in self._extra_shapes(phi).items():
            fresh[name] = torch.zeros((*phi.tasks, *shape), dtype=phi.dtype, device=phi.device)
            if name in self.carried(phi) and len(shape) == 2 and name not in phi.extra:
                torch.nn.init.trunc_normal_(fresh[name], 0.0, 1.0, -2.0, 2.0, generator=generator).mul_(self.spread())
        return phi.with_layers(phi.layers, **{**fresh, **phi.extra})

    def check(self, phi: BaseModelState, batch: Any) -> Batch:
        """As `UpdateRule.check`; also that `phi.extra` holds what `init_extra` puts there (ValueError)."""
        checked = super().check(phi, batch)
        for name, shape in self._extra_shapes(phi).items():
            if name not in phi.extra:
                raise ValueError(
                    f"phi.extra lacks {name!r}; allowed: a phi that went through rule.init_extra(phi, generator)"
                )
            value = check_tensor(f"phi.extra[{name!r}]", phi.extra[name], min_dims=0, like=phi.layers[0].W)
            wanted = [*phi.tasks, *shape]
            if list(value.shape) != wanted:
                raise ValueError(f"phi.extra[{name!r}] has shape {list(value.shape)}; allowed: {wanted}")
        return checked

    def descend(
        self,
        phi: BaseModelState,
        activations: Activations,
        signals: Signals,
        carried: Mapping[str, Tensor],
        mirrors: Mapping[str, str] = MappingProxyType({}),
    ) -> Trace:
        """Take the step, and report it for the layers of phi.

        Args:
            phi: before the step.
            activations, signals: of phi's layers, 1 .. L at least (an autoencoder's go on into the decoder).
            carried: gradients of the carried weights that learn, by name.
            mirrors: carried backward weights that get the change of another weight, name -> that other's name; with
                any of them, every V^l gets the change of W^l too.
        """
        s, depth = self.settings, phi.depth
        grads = {f"W{l}": signals.grad_W[l] for l in range(1, depth + 1)}
        grads |= {f"b{l}": signals.grad_b[l] for l in range(1, depth + 1)} | dict(carried)
        changes, extra = (grads, {}) if s.optimiser == "sgd" else adam_changes(grads, phi.extra)
        change_W = {l: changes[f"W{l}"] for l in range(1, depth + 1)}
        change_b = {l: changes[f"b{l}"] for l in range(1, depth + 1)}
        moves = {name: changes[name] for name in carried} | {name: changes[source] for name, source in mirrors.items()}
        for name, change in moves.items():
            is_matrix = change.ndim == len(phi.tasks) + 2
            keep = 1 - s.lr * s.decay if is_matrix else 1.0  # biases do not decay
            extra[name] = keep * phi.extra[name] - s.lr * change
        layers = range(1, depth + 1)
        return Trace(
            z={l: activations.z[l] for l in range(depth + 1)},
            x={l: activations.x[l] for l in range(depth + 1)},
            d={l: signals.d[l].unsqueeze(-1) for l in layers},
            delta={l: signals.delta[l].unsqueeze(-1) for l in layers},
            terms={l: {"gradient": signals.grad_W[l]} for l in layers},
            change_W=change_W,
            change_b=change_b,
            next_state=self.updated(phi, change_W, change_b, change_W if mirrors else None, **extra),
        )

    def _extra_shapes(self, phi: BaseModelState) -> dict[str, tuple[int, ...]]:
        carried = self.carried(phi)
        if self.settings.optimiser == "sgd":
            return carried
        learning = {name: shape for name, shape in carried.items() if not name.endswith("_V")}  # V has no gradient
        for l, (below, above) in enumerate(zip(phi.sizes[:-1], phi.sizes[1:], strict=True), start=1):
            learning |= {f"W{l}": (below, above), f"b{l}": (above,)}
        means = {f"adam_{mean}_{name}": shape for mean in "mv" for name, shape in learning.items()}
        return carried | means | {"adam_t": ()}


def adam_changes(
    grads: Mapping[str, Tensor], extra: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Adam's bias-corrected direction m / sqrt(v), before the step size (Kingma and Ba, ICLR 2015).

    Args:
        grads: gradients [*tasks, ...] by name.
        extra: holds `adam_m_{name}`, `adam_v_{name}` of the same shapes and the count `adam_t` [*tasks].

    Returns:
        The changes by name, and the running means and count after this step.
    """
    t = extra["adam_t"] + 1
    changes: dict[str, Tensor] = {}
    after = {"adam_t": t}
    for name, grad in grads.items():
        m = BETAS[0] * extra[f"adam_m_{name}"] + (1 - BETAS[0]) * grad
        v = BETAS[1] * extra[f"adam_v_{name}"] + (1 - BETAS[1]) * grad.square()
        count = t.reshape(*t.shape, *(1,) * (grad.ndim - t.ndim))
        mean, square = m / (1 - BETAS[0] ** count), v / (1 - BETAS[1] ** count)
        changes[name] = mean / torch.sqrt(square + ADAM_EPS**2)
        after |= {f"adam_m_{name}": m, f"adam_v_{name}": v}
    return changes, after
