"""Judge finished runs of one setting on held-out data alone, and put the best one's rule and run into the package.

    python tools/ship.py --replace runs/local-1 runs/local-2 runs/local-3
    python tools/ship.py --replace --name neighbours --memory 1500 runs/neighbours-1 runs/neighbours-2 runs/neighbours-3

Writes, beside the shipped rule: NAME_seeds.csv, the spread over the runs; NAME_held_out.csv, what the chosen rule,
its start, and some baselines are worth on held-out tasks, by net and by inner steps. No digit is read here: the card's
numbers on digits come from `python -m metarules.evaluation`, afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from metarules._files import csv_text, write_atomically
from metarules._workers import Workers
from metarules.evaluation.ablation import rebuilt
from metarules.evaluation.held_out import validate_baseline
from metarules.meta_training import Judge, JudgeSettings
from metarules.meta_training.log import LOG, SNAPSHOTS
from metarules.meta_training.run import RULE
from metarules.pretrained import load_rule, save_rule
from metarules.pretrained.own_modules import HELP, OPTION, import_modules
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import LocalRule, UpdateRule

FOLDER = Path(__file__).resolve().parents[1] / "metarules" / "pretrained" / "rules"
START = f"{SNAPSHOTS}/000000.safetensors"  # in a run's folder: theta before meta-training
TASKS = 16  # of each kind, on each net
USUAL = (32, 32, 32)
NETS = (USUAL, (64, 64, 32), (128, 128, 32), (256, 32), (64, 64, 64, 64, 32), (128, 128, 128, 128, 32))
STEPS = (25, 50, 200, 400, 1000)  # besides the recommended number
BASELINES = ("raw", "random_init", "pca_32", "kmeans_32", "kmeans_64", "eigenmaps_32")


def judge(widths: tuple[int, ...] = USUAL, steps: int = 100) -> Judge:
    """On one net, half the tasks of the choice among runs."""
    settings = JudgeSettings(tasks=TASKS // 2, widths=widths, wide=(), steps=steps)
    return Judge(DistributionSettings(), settings, workers=Workers(2))


def seeds_table(runs: Iterable[Path]) -> tuple[list[dict[str, str]], Path]:
    """A row for each run, and the run with the best mean over all kinds of held-out tasks and both nets."""
    held_out = Judge(DistributionSettings(), JudgeSettings(tasks=TASKS), workers=Workers(2))
    rows, best = [], (0.0, Path())
    for run in runs:
        print(f"judging {run}", file=sys.stderr, flush=True)
        rule, start = load_rule(run / RULE), load_rule(run / START)
        after, before = held_out(rule), held_out(start)
        gain = torch.cat(list(after.values())) - torch.cat(list(before.values()))
        mean = float(torch.cat(list(after.values())).mean())
        best = max(best, (mean, run))
        row = {"seed": str(rule.card["seed"]), "meta-step": str(rule.card["meta_steps"])}
        for case in after:
            row |= {f"{case}, start": f"{float(before[case].mean()):.4f}", case: f"{float(after[case].mean()):.4f}"}
        row |= {"mean": f"{mean:.4f}", "gain": f"{float(gain.mean()):.4f}", "standard error": f"{_error(gain):.4f}"}
        rows.append(row)
    return rows, best[1]


def held_out_table(rules: Mapping[str, UpdateRule]) -> list[dict[str, str]]:
    """Rules by net at the recommended steps, then by steps on the usual net, then baselines on the same tasks."""
    rows = []
    cases = [(widths, 100) for widths in NETS] + [(USUAL, steps) for steps in STEPS]
    for widths, steps in cases:
        held_out = judge(widths, steps)
        for name, rule in rules.items():
            if name == "start" and steps != 100:
                continue
            rows.append(_row(name, f"64-{'-'.join(map(str, widths))}", str(steps), held_out(rule)))
            print(rows[-1], flush=True)
    held_out = judge()
    for name in BASELINES:
        rows.append(_row(name, "", "", {kind: validate_baseline(name, task) for kind, task in held_out.tasks.items()}))
        print(rows[-1], flush=True)
    return rows


def _row(name: str, net: str, steps: str, scores: Mapping[str, Tensor]) -> dict[str, str]:
    row = {"representation": name, "net": net, "steps": steps}
    for kind, found in scores.items():
        row |= {kind: f"{float(found.mean()):.4f}", f"{kind}, standard error": f"{_error(found):.4f}"}
    return row


def _error(found: Tensor) -> float:
    return float(found.std(correction=1)) / len(found) ** 0.5


def ship(run: Path, name: str, memory: int | None = None) -> None:
    """Copy a run's rule, log and snapshots into the package."""
    rule = load_rule(run / RULE)
    if memory is not None and isinstance(rule, LocalRule):  # the command on the card says that of meta-training
        card, rule = rule.card, rebuilt(rule, memory=memory)
        rule.card = card
    save_rule(rule, FOLDER / f"{name}.safetensors")
    there = FOLDER / f"{name}_run"
    if there.exists():
        shutil.rmtree(there)
    (there / SNAPSHOTS).mkdir(parents=True)
    for path in [run / LOG, *sorted((run / SNAPSHOTS).glob("*.safetensors"))]:
        shutil.copyfile(path, there / path.relative_to(run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--name", default="local", help="of the rule in the package (%(default)s)")
    parser.add_argument("--seeds-only", action="store_true", help="write NAME_seeds.csv and nothing else")
    parser.add_argument("--memory", type=int, help="inputs that the shipped rule remembers, if not those of its run")
    parser.add_argument("--replace", action="store_true", help="overwrite what the package has under this name")
    parser.add_argument(OPTION, metavar="MODULE", help=HELP)
    given = parser.parse_args(import_modules(sys.argv[1:]))
    if (FOLDER / f"{given.name}.safetensors").exists() and not given.replace:
        parser.error(f"--name is {given.name!r}, which the package has; allowed: another name, or --replace")
    torch.set_num_threads(1)
    rows, best = seeds_table(given.runs)
    write_atomically(FOLDER / f"{given.name}_seeds.csv", csv_text(rows).encode())
    print(csv_text(rows), flush=True)
    if given.seeds_only:
        return
    ship(best, given.name, given.memory)
    rules = {given.name: load_rule(given.name), "start": load_rule(best / START)}
    write_atomically(FOLDER / f"{given.name}_held_out.csv", csv_text(held_out_table(rules)).encode())


if __name__ == "__main__":
    main()
