"""What tools/imitation.py calls exact is autograd's own gradient, and each part left out of it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from metarules.base_model import forward_unchecked
from metarules.evaluation.rivals.nets import Net
from metarules.evaluation.rivals.views import INVARIANCE, LAYERS, alike, train_vicreg
from metarules.studies.classical import fit_change
from metarules.tasks import load_dataset
from tools.imitation import by_hand


def test_two_products_made_by_hand_are_vicregs_gradient():
    x, looked = load_dataset("handwriting", n=200, split="validation").x, []

    def watch(net: Net, two_views: Callable[[Tensor], list[Tensor]], step: int) -> None:
        views = two_views(torch.arange(100))
        part = net.state.with_layers([net.state.layers[0]])
        apart, repeated = alike(*(forward_unchecked(part, view).features for view in views))
        gradient = torch.autograd.grad(INVARIANCE * apart + repeated, net.state.layers[0].W)[0]
        with torch.no_grad():
            made = [
                by_hand(net, 1, views, gate=gate, norm=norm)
                for gate, norm in ((True, True), (False, True), (True, False))
            ]
        looked.append([float(fit_change(gradient, terms).r2) for terms in made])

    train_vicreg(x.numpy(), 0, (12, 8), replace(LAYERS, steps=2, head=0), local=True, watch=watch)
    for exact, no_gate, no_norm in looked:
        assert exact > 0.9999 and no_gate < 0.9 and no_norm < 0.9
