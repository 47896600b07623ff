"""Settings of `LocalRule`: sizes, switches and the starting point."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from metarules._checks import check_choice, check_fields, check_names, check_number
from metarules.update_rule.learned import BACKWARD_UPDATES, checked_scales
from metarules.update_rule.local.neighbours import ALIKE_IN
from metarules.update_rule.local.networks import EXAMPLE_INPUTS, NEURON_INPUTS
from metarules.update_rule.local.terms import LOCAL_TERMS, get_term, registered_terms

LOCAL_INPUTS = (*EXAMPLE_INPUTS, *NEURON_INPUTS)
_LARGEST = sys.float_info.max  # a factor may be any finite number


@dataclass(frozen=True)
class LocalRuleSettings:
    """Sizes, switches and starting values of `LocalRule`."""

    channels: int = 16  # C, width of h: our second probe (CONTRIBUTING, Sources)
    signals: int = 4  # D, signals sent down: ours, small since they are the widest traffic between layers
    readouts: int = 2  # G, channels of each low-rank product: ours; the authors use 4 with C = 64
    lr: float = 0.03  # inner step size at the start: the hand rule; the learned one stays within a factor e
    hebb: float = 0.8  # coefficient of the term hebb at the start: our second probe
    decorr: float = 0.9  # coefficient of the term decorr_x at the start: our second probe
    # coefficient of the term soft at the start; ours: as good on held-out glyphs as the probe's 0.2
    soft: float = 0.3
    # coefficient of the term slow at the start; ours: 0.1 to 0.2 with neighbours of the batch alone, 0.4 with a memory
    slow: float = 0.1
    # coefficient of every other term at the start; ours: at 0.1 the random terms cost accuracy on held-out glyphs
    learned: float = 0.05
    bias: float = 0.3  # push on every bias at the start, so that most units stay active; ours, held-out glyphs
    temperature: float = 0.3  # temperature of the softmax over a layer's neurons at the start; it is learned
    neighbours: int = 3  # examples most like each one, where a term asks for them; ours: as first tried
    # where examples are alike: in the input, in the layer below or in the top layer (one signal from there to every
    # layer); stream: each is like those before it in the batch, and nothing is looked up
    alike_in: str = "input"
    # recent inputs that are remembered, in `phi.extra`, and looked through for neighbours beside the batch; 0: none
    memory: int = 0
    term_eps: float = 1e-3  # in N(T) = T / sqrt(eps + column mean of T^2): the hand rule's
    step_bound: float = 4.0  # change / sqrt(1 + column mean of change^2 / bound): steps stay below 2
    # what becomes of V: identical (it takes W's change; paper), separate (a change of its own), fixed (none) or tied (V
    # is W)
    backward_update: str = "identical"
    top_signal: bool = True  # False: d^L = 0, so that what comes down is made of the hidden states alone
    decorrelation: bool = True  # lateral signal 1: the term decorr_x
    layer_stats: bool = True  # lateral signal 2: mean and RMS activity of the layer
    softmax: bool = True  # lateral signal 3: a neuron's share in a softmax over its layer, as input and as term
    term_scales: Mapping[str, float] = field(default_factory=dict, hash=False)  # factors on coefficients; 0: off
    input_scales: Mapping[str, float] = field(default_factory=dict, hash=False)  # factors on inputs; 0: off
    # names of the terms that delta-W is a sum of, in the order in which theta holds their coefficients; more can be
    # added by `local.terms.register_term`
    terms: tuple[str, ...] = LOCAL_TERMS

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        check_names("terms", self.terms, registered_terms())
        if not self.terms or len(set(self.terms)) < len(self.terms):
            raise ValueError(f"terms is {self.terms}; allowed: one name at least, none twice")
        check_fields(self, "channels", "signals", "readouts", "neighbours", low=1, high=1024, integer=True)
        check_number("memory", self.memory, low=0, integer=True)
        check_choice("alike_in", self.alike_in, ALIKE_IN)
        if self.memory and self.alike_in == "stream":
            raise ValueError(f"memory is {self.memory} with alike_in stream, which looks nothing up; allowed: 0")
        check_fields(self, "lr", "temperature", "term_eps", "step_bound", low=0, low_open=True)
        check_fields(self, "hebb", "decorr", "soft", "slow", "learned", "bias")
        check_choice("backward_update", self.backward_update, BACKWARD_UPDATES)
        for name, allowed in (("term_scales", self.terms), ("input_scales", LOCAL_INPUTS)):
            object.__setattr__(self, name, checked_scales(name, getattr(self, name), allowed, _LARGEST))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that register the terms."""
        return tuple(get_term(name).make.__module__ for name in self.terms)

    def start(self, term: str) -> float:
        """What a term's coefficient starts at."""
        start = get_term(term).start
        return float(getattr(self, start)) if isinstance(start, str) else start

    def input_scale(self, name: str) -> float:
        """The factor on one input, 0 where a switch is off."""
        if name in ("layer_stats", "softmax") and not getattr(self, name):
            return 0.0
        return self.input_scales.get(name, 1.0)

    def term_scale(self, name: str) -> float:
        """The factor on one term's coefficient, 0 where a switch is off."""
        if (name == "decorr_x" and not self.decorrelation) or (name == "soft" and not self.softmax):
            return 0.0
        return self.term_scales.get(name, 1.0)
