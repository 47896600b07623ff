"""metarules: learning rules that were learned, for representations without labels, in PyTorch.

After Metz, Maheswaranathan, Cheung and Sohl-Dickstein, "Meta-Learning Update Rules for Unsupervised Representation
Learning", ICLR 2019 (arXiv 1804.00222). Every tensor may carry leading task dimensions.

Glossary
--------
======= ======================== ==================================== ===============================================
symbol  in code                  shape                                meaning
======= ======================== ==================================== ===============================================
phi     BaseModelState           W, b, V of every layer               state of the base model; the inner loop changes
                                                                      it
theta   rule.parameters()        a few thousand numbers               meta-parameters of the rule; the outer loop
                                                                      changes them
l, L    layers[l - 1], depth     l = 0 (input) .. L (top)             layer, number of layers
n_l     sizes[l]                 whole number                         units of layer l
B       batch_size               whole number                         examples in a batch
x       acts.x[l]                [*tasks, B, n_l]                     post-activations; x[0] is the input
u       acts.x[l - 1] @ W        [*tasks, B, n_l]                     weighted inputs, before they are normalised
z       acts.z[l]                [*tasks, B, n_l]                     pre-activations, normalised over the batch
W       layers[l - 1].W          [*tasks, n_{l-1}, n_l]               forward weights
b       layers[l - 1].b          [*tasks, n_l]                        biases
V       layers[l - 1].V          [*tasks, n_{l-1}, n_l]               backward weights, used in place of W^T
h       trace.h[l]               [*tasks, B, n_l, C]                  hidden state of the update network on each neuron
d       trace.d[l]               [*tasks, B, n_l, D]                  signal arriving from above through V
delta   trace.delta[l]           [*tasks, B, n_l, D]                  signal sent further down
delta-W trace.delta_W[l]         [*tasks, n_{l-1}, n_l]               change of W before decay and step size
        trace.change_W[l]        [*tasks, n_{l-1}, n_l]               -delta-W, what the step subtracts (the authors'
                                                                      sign): W <- (1 - lr) W - lr change_W
eta     rule.lr                  number                               step size of the inner loop
terms   trace.terms[l][name]     [*tasks, n_{l-1}, n_l]               what change_W is mixed from, same sign
lambda  ridge                    number > 0                           penalty of the meta-objective's ridge regression
K       labels_per_class         whole number                         labelled examples per class in a few-shot probe
======= ======================== ==================================== ===============================================

Public functions refuse, with a TypeError, arguments that their annotations do not allow (`metarules._arguments`).
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarules.base_model import BaseModelState as BaseModelState
    from metarules.base_model import forward as forward
    from metarules.base_model import init_state as init_state
    from metarules.estimator import MetaRuleTransformer as MetaRuleTransformer
    from metarules.inner_loop import learn as learn
    from metarules.inner_loop import start as start
    from metarules.inner_loop import unroll as unroll
    from metarules.meta_objective import ridge_cosine_loss as ridge_cosine_loss
    from metarules.pretrained import get_rule as get_rule
    from metarules.pretrained import load_rule as load_rule
    from metarules.pretrained import register_kind as register_kind
    from metarules.pretrained import save_rule as save_rule
    from metarules.pretrained import shipped_rules as shipped_rules
    from metarules.pretrained import shipped_run as shipped_run
    from metarules.tasks import load_dataset as load_dataset
    from metarules.tasks import make_task as make_task
    from metarules.tasks import read_dataset as read_dataset
    from metarules.update_rule import Batch as Batch
    from metarules.update_rule import LocalRule as LocalRule
    from metarules.update_rule import PaperRule as PaperRule

__version__ = "0.1.0"

# Looked up on first use, so that `import metarules` itself costs next to nothing.
_HOMES = {
    "BaseModelState": "base_model",
    "forward": "base_model",
    "init_state": "base_model",
    "Batch": "update_rule",
    "LocalRule": "update_rule",
    "MetaRuleTransformer": "estimator",
    "PaperRule": "update_rule",
    "get_rule": "pretrained",
    "load_rule": "pretrained",
    "register_kind": "pretrained",
    "save_rule": "pretrained",
    "shipped_rules": "pretrained",
    "shipped_run": "pretrained",
    "ridge_cosine_loss": "meta_objective",
    "start": "inner_loop",
    "learn": "inner_loop",
    "unroll": "inner_loop",
    "load_dataset": "tasks",
    "make_task": "tasks",
    "read_dataset": "tasks",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"metarules.{_HOMES[name]}"), name)
    if find_spec(f"metarules.{name}") is None:
        raise AttributeError(f"module 'metarules' has no attribute {name!r}")
    return import_module(f"metarules.{name}")  # a room


def __dir__() -> list[str]:
    return sorted(__all__)
