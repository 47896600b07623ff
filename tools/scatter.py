"""How far checkpoints of one run scatter, theta as it is and as it is averaged: `python tools/scatter.py`.

The preset `laptop` goes on from the shipped rule at its full rate; every 50 meta-steps both thetas are judged on the
same held-out tasks, on the usual net and on 64-128-128-32. Three quarters of an hour of one core.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from metarules.meta_training import PRESETS, Judge, MetaTrainer
from metarules.meta_training.outer_loop import averaged_rule
from metarules.pretrained import load_rule

EVERY = 50  # meta-steps


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=100, help="meta-steps before the first checkpoint (%(default)s)")
    parser.add_argument("--checkpoints", type=int, default=7, help="%(default)s, so many")
    parser.add_argument("--tasks", type=int, default=8, help="held-out tasks of each kind (%(default)s)")
    given = parser.parse_args(arguments)

    plan = PRESETS["laptop"]
    last = given.first + EVERY * (given.checkpoints - 1)
    trainer = MetaTrainer(load_rule("local"), replace(plan.train, meta_steps=last, final_share=1.0), plan.data)
    judge = Judge(plan.data, replace(plan.judge, tasks=given.tasks))
    found = []  # of each checkpoint: [2, cases]
    while trainer.number < last:
        trainer.step()
        if trainer.number >= given.first and (trainer.number - given.first) % EVERY == 0:
            both = copy.deepcopy(trainer.rule), averaged_rule(trainer)
            scores = [torch.stack([case.mean() for case in judge(rule).values()]) for rule in both]
            found.append(torch.stack(scores))
            as_it_is, averaged = found[-1].mean(1).tolist()
            print(f"{trainer.number:6}  theta {as_it_is:.4f}  averaged {averaged:.4f}", flush=True)
    steps = torch.stack(found).diff(dim=0)  # [checkpoints - 1, 2, cases]
    for name, spread in (("of the mean", steps.mean(2)), *zip(judge.cases, steps.unbind(2), strict=True)):
        as_it_is, averaged = (spread.square().mean(0) / 2).sqrt().tolist()  # of one checkpoint, a drift left out
        print(f"{name:18}  theta {as_it_is:.4f}  averaged {averaged:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
