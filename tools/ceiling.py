"""What the parameters of a rule can do for one data set when it is all they have to serve, beside what rivals do there.

    python tools/ceiling.py --rule local --meta-steps 300        # half an hour of one core

Held-out handwriting, the kind where the shipped rules gain least over k-means: theta goes on from the shipped rule's,
and every task of every meta-step is this one data set. A rule that stays below its rivals even so lacks the means; one
that overtakes them lacks only the practice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metarules.evaluation import Protocol, evaluate_baseline, evaluate_rule
from metarules.evaluation.results import paired_difference
from metarules.meta_training import PRESETS, MetaTrainer
from metarules.meta_training.outer_loop import averaged_rule
from metarules.pretrained import load_rule, save_rule
from metarules.tasks import Dataset, load_dataset
from metarules.tasks.distribution import DistributionSettings
from metarules.tasks.families import Draw, register_family

RIVALS = ("raw", "kmeans_64", "eigenmaps_32", "vicreg_neighbours", "vicreg_local")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="local", help="a shipped name or a file (%(default)s)")
    parser.add_argument("--meta-steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the data set and of the run")
    parser.add_argument("--out", type=Path, help="where the theta of the end goes (nowhere)")
    given = parser.parse_args(arguments)

    usual = DistributionSettings()
    data = load_dataset("handwriting", n=usual.n_examples, split="validation", seed=given.seed)
    protocol = Protocol(hidden=(128, 128, 32))

    @register_family("one data set")
    def one(draw: Draw) -> Dataset:
        return data

    # the shipped rules' own setting, but for what there is to learn
    train = replace(
        PRESETS["laptop"].train,
        meta_steps=given.meta_steps,
        seed=given.seed,
        usual_net=protocol.hidden,
        usual_net_share=1.0,
    )
    rule = load_rule(given.rule)
    trainer = MetaTrainer(load_rule(given.rule), train, replace(usual, weights={"one data set": 1.0}, usual_share=1.0))
    for i in range(given.meta_steps):
        trainer.step()
        print(f"meta-step {i + 1} of {given.meta_steps}", end="\r", file=sys.stderr, flush=True)
    alone = averaged_rule(trainer)
    alone.recommended = rule.recommended
    if given.out is not None:
        save_rule(alone, given.out)
    before, after = (evaluate_rule(r, given.rule, data, protocol) for r in (rule, alone))
    more, error = paired_difference(after.accuracies, before.accuracies)
    rows = {f"{given.rule}, as shipped": before, f"{given.rule}, {given.meta_steps} meta-steps on this alone": after}
    rows |= {name: evaluate_baseline(name, data, protocol) for name in RIVALS}
    for name, result in rows.items():
        print(f"{name:45} {result.row.accuracy:.4f} ± {result.row.stderr:.4f}", flush=True)
    print(f"{'gain by practice on this alone':45} {more:+.4f} ± {error:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
