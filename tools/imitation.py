"""How much of a step of layer-local VICReg with neighbours can the terms of a `LocalRule` write?

    python tools/imitation.py --rule neighbours        # a minute of one core

VICReg, whose features are the best that our net was seen to hold without labels, learns held-out handwriting on
64-128-128-32, each layer alone and without a head, which here costs it no accuracy. Along its way its gradient of each
W is written, by least squares, as a weighted sum of what the rule's terms would put into that W: the gradient of what
makes neighbours alike, of what makes units unlike, and of both together. R^2 is the share that is met. "exact" is for
comparison: two terms made by hand, the products of lower activity with either loss's error, sent back through ReLU and
batch norm; "no gate" leaves ReLU's derivative out, "no norm" the derivative of batch norm.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from metarules.base_model import forward_unchecked
from metarules.base_model.forward import BATCH_NORM_EPS
from metarules.classic_rules.statistics import correlation, standardise
from metarules.evaluation import Protocol
from metarules.evaluation.protocol import evaluate_features
from metarules.evaluation.rivals.nets import Net
from metarules.evaluation.rivals.views import INVARIANCE, LAYERS, alike, train_vicreg
from metarules.pretrained import load_rule
from metarules.studies.classical import fit_change
from metarules.tasks import load_dataset
from metarules.update_rule.anatomy import contributions

STEPS = (1, 10, 50, 100, 250)  # of VICReg's 250, at which its gradient is looked at
EXAMPLES = 500  # of such a look
SAID = ("alike", "unlike", "both", "exact", "no gate", "no norm")


def by_hand(net: Net, l: int, views: Sequence[Tensor], gate: bool = True, norm: bool = True) -> dict[str, Tensor]:
    """Both losses' gradients of W^l as products that a neuron could form, with parts left out."""
    made: dict[str, Tensor] = {}
    layer = net.state.with_layers([net.state.layers[l - 1]])
    acts = [forward_unchecked(layer, view) for view in views]
    features = [standardise(a.features) for a in acts]
    for a, own, other in zip(acts, features, features[::-1], strict=True):
        c = correlation(own, own)
        for name, error in (("unlike", own @ (c - c.diagonal().diag())), ("alike", own - other)):
            if norm:  # of the features
                error = _through(error, own, (a.features.var(0, correction=0) + BATCH_NORM_EPS).sqrt())
            if gate:
                error = error * (a.z[1] > 0)
            if norm:  # of the pre-activations
                error = _through(error, a.z[1] - layer.layers[0].b, a.std[1])
            made[name] = made.get(name, torch.zeros(())) + a.x[0].mT @ error
    return made


def _through(error: Tensor, normed: Tensor, std: Tensor) -> Tensor:
    """Back through a normalisation over the batch."""
    return (error - error.mean(0) - normed * (error * normed).mean(0)) / std


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="neighbours", help="a shipped name or a file (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the data set, the net and chance (%(default)s)")
    given = parser.parse_args(arguments)
    rule, g = load_rule(given.rule), torch.Generator().manual_seed(given.seed)
    data, protocol = load_dataset("handwriting", n=1000, split="validation", seed=given.seed), Protocol((128, 128, 32))
    print("step  layer  opposed  " + "  ".join(f"{name:>7}" for name in SAID))

    def watch(net: Net, two_views: Callable[[Tensor], list[Tensor]], step: int) -> None:
        if step not in STEPS:
            return
        views = two_views(torch.arange(EXAMPLES))
        phi = rule.init_extra(net.state.detach(), g)
        with torch.no_grad():
            trace = rule.trace(phi, views[0])
        for l, layer in enumerate(net.state.layers, start=1):
            part = net.state.with_layers([layer])
            a, b = (forward_unchecked(part, view).features for view in views)
            apart, repeated = alike(a, b)
            one = torch.autograd.grad(INVARIANCE * apart, layer.W, retain_graph=True)[0]
            other = torch.autograd.grad(repeated, layer.W)[0]
            pushes = dict(contributions(rule, trace, l).pushes)
            with torch.no_grad():
                hand = [by_hand(net, l, views, **how) for how in ({}, {"gate": False}, {"norm": False})]
            wanted = [(one, pushes), (other, pushes), *((one + other, terms) for terms in (pushes, *hand))]
            opposed = float(torch.cosine_similarity(one.flatten(), other.flatten(), 0))
            r2 = "  ".join(f"{float(fit_change(gradient, terms).r2):7.2f}" for gradient, terms in wanted)
            print(f"{step:4}  {l:5}  {opposed:7.2f}  {r2}", flush=True)
            views = [a.detach(), b.detach()]

    told = data.x.numpy(), given.seed, protocol.hidden
    bare = train_vicreg(*told, replace(LAYERS, head=0), local=True, watch=watch)
    for head, net in ((0, bare), (LAYERS.head, train_vicreg(*told, LAYERS, local=True))):
        row = evaluate_features(torch.from_numpy(net.features())[None], "vicreg", data, protocol, 0.0).row
        print(f"accuracy with a head of {head}: {row.accuracy:.4f} ± {row.stderr:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
