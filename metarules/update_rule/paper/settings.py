"""Settings of `PaperRule`: its sizes, its step size, and what may be switched off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metarules._checks import check_choice, check_fields, check_number
from metarules.update_rule.learned import BACKWARD_UPDATES, checked_scales
from metarules.update_rule.terms import TERMS

PAPER_INPUTS = ("x", "z", "unit_id", "delta", "weight_stats", "bias")


@dataclass(frozen=True)
class PaperRuleSettings:
    """Sizes and switches of a `PaperRule`. All numbers are the authors' code's defaults."""

    channels: int = 64  # C, width of h; authors' code: compute_h_size
    signals: int = 32  # D, width of the signals d and delta; authors' code: delta_dim
    readouts: int = 4  # G, channels of each low-rank read-out; authors' code: num_grad_channels
    top_channels: int = 64  # width of the network that makes the top signal; authors' code: top_delta_size
    top_units: int = 32  # the one top width it can teach; paper and authors' code: the embedding is 32 wide
    top_layers: int = 2  # convolutions at the end of the top network; authors' code: top_delta_layers
    hidden_layers: int = 1  # convolutions of h after its first; authors' code: compute_h_layers
    kernel: int = 3  # length of all convolutions but one, odd; authors' code
    top_kernel: int = 5  # length of the top network's first convolution, odd; authors' code
    lr: float = 1e-4  # inner step size; authors' code
    # what becomes of V: identical (it takes W's change; authors' code: identical_updates=True), separate (a change of
    # its own), fixed (none) or tied (V is W)
    backward_update: str = "identical"
    term_scales: Mapping[str, float] = field(default_factory=dict, hash=False)  # factors on a_k; 0: off
    input_scales: Mapping[str, float] = field(default_factory=dict, hash=False)  # factors on inputs of h; 0: off

    def __post_init__(self) -> None:
        sizes = ("channels", "signals", "readouts", "top_channels", "top_units", "kernel", "top_kernel")
        check_fields(self, *sizes, low=1, high=1024, integer=True)
        check_fields(self, "top_layers", "hidden_layers", low=0, integer=True)
        for name in ("kernel", "top_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: odd numbers (zero padding on both sides)")
        check_number("lr", self.lr, low=0, high=1)
        check_choice("backward_update", self.backward_update, BACKWARD_UPDATES)
        for name, allowed in (("term_scales", TERMS), ("input_scales", PAPER_INPUTS)):
            object.__setattr__(self, name, checked_scales(name, getattr(self, name), allowed, 1e6))
