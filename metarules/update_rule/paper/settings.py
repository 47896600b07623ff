"""Settings of `PaperRule`: its sizes, its step size, and what may be switched off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metarules._checks import check_choice, check_names, check_number
from metarules.update_rule.terms import TERMS

BACKWARD_UPDATES = ("identical", "separate", "fixed", "tied")
PAPER_INPUTS = ("x", "z", "unit_id", "delta", "weight_stats", "bias")


@dataclass(frozen=True)
class PaperRuleSettings:
    """Sizes and switches of a `PaperRule`. All numbers are the authors' code's defaults.

    Attributes:
        channels: C, width of h.
        delta_channels: D, width of the signals d and delta.
        readout_channels: G, channels of each low-rank read-out.
        top_channels: width of the network that makes the top signal.
        top_units: the one top width of base models this rule can teach.
        top_layers: convolutions over `top_channels` at the end of the top network.
        hidden_layers: convolutions of h after its first.
        kernel: length of all convolutions but one; odd.
        top_kernel: length of the top network's first convolution; odd.
        lr: inner step size.
        backward_update: what becomes of V. "identical": it gets W's change; "separate": its own read-outs and mixing
            coefficients, with V in place of W; "fixed": nothing; "tied": V is W, in the backward pass too.
        term_scales: term name -> factor on its mixing coefficient a_k; 1 where absent, 0 switches the term off.
        input_scales: input name (`PAPER_INPUTS`) -> factor on its channels as they enter h's first convolution.
    """

    channels: int = 64  # authors' code: compute_h_size
    delta_channels: int = 32  # authors' code: delta_dim
    readout_channels: int = 4  # authors' code: num_grad_channels
    top_channels: int = 64  # authors' code: top_delta_size
    top_units: int = 32  # paper and authors' code: the embedding is 32 wide
    top_layers: int = 2  # authors' code: top_delta_layers
    hidden_layers: int = 1  # authors' code: compute_h_layers
    kernel: int = 3  # authors' code
    top_kernel: int = 5  # authors' code
    lr: float = 1e-4  # authors' code
    backward_update: str = "identical"  # authors' code: identical_updates=True; "fixed" and "tied" are ours
    term_scales: Mapping[str, float | int] = field(default_factory=dict, hash=False)  # none scaled, as released
    input_scales: Mapping[str, float | int] = field(default_factory=dict, hash=False)  # none scaled, as released

    def __post_init__(self) -> None:
        sizes = ("channels", "delta_channels", "readout_channels", "top_channels", "top_units", "kernel", "top_kernel")
        for name in sizes:
            check_number(name, getattr(self, name), low=1, integer=True)
        for name in ("top_layers", "hidden_layers"):
            check_number(name, getattr(self, name), low=0, integer=True)
        for name in ("kernel", "top_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: odd numbers (zero padding on both sides)")
        check_number("lr", self.lr, low=0, high=1)
        check_choice("backward_update", self.backward_update, BACKWARD_UPDATES)
        for name, allowed in (("term_scales", TERMS), ("input_scales", PAPER_INPUTS)):
            scales = dict(getattr(self, name))
            check_names(name, scales, allowed)
            for key, value in scales.items():
                check_number(f"{name}[{key!r}]", value, low=-1e6, high=1e6)
            object.__setattr__(self, name, scales)
