"""Meta-training's levers at equal budget: each change of one setting against the laptop preset, by validation alone.

    python tools/levers.py --workers 2        # two minutes of one core for each run; leaves off where it was

Every run has 200 group-steps (a group taught for one truncation), whatever its lever, and is judged at its end by the
averaged theta on 32 held-out tasks of each kind. The table goes beside the shipped rule's card.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from metarules._files import csv_text, write_atomically
from metarules._words import exit_status
from metarules.meta_training import Judge, JudgeSettings
from metarules.pretrained import load_rule
from metarules.tasks.distribution import DistributionSettings

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "metarules" / "pretrained" / "rules" / "local_levers.csv"
BUDGET = 200  # group-steps
TASKS = 32  # of each kind
COMMON = (
    f"--meta-steps {BUDGET} --groups-per-step 1 --groups 8 --warm-up 20 --average 0.98 "
    f"--keep.validate-every {10 * BUDGET} --judge.tasks 1"
)
HALF = f"--meta-steps {BUDGET // 2} --warm-up 10"  # levers that double what one update costs

# those we thought most of come first: a table can be made of whatever is done
LEVERS = {
    "laptop preset": "",
    "breadth: the usual net and form alone": "--usual-net-share 1 --data.usual-share 1",
    "breadth: glyphs and decoders alone": "--data.weights glyphs 0.4 decoders 0.2",
    "channels: 24": "--rule.channels 24",
    "horizon: 16 to 96": "--horizon 16 96",
    "meta-batch: two groups an update, half the updates": f"--groups-per-step 2 {HALF}",
    "estimator: pes": "--estimator pes",
    "inner lr: 0.05": "--rule.lr 0.05",
    "start: learned terms 0.1": "--rule.learned 0.1",
    "lateral signal: no softmax over the layer": "--rule.softmax False --rule.soft 0",
    "lambda: 10": "--objective.ridge 10",
    "lambda: 1": "--objective.ridge 1",
    "learning rate: 1e-3": "--learning-rate 1e-3",
    "learning rate: 8e-3": "--learning-rate 8e-3",
    "batches: 100 to 250, 0.6 of the updates": f"--batch-size 100 250 --meta-steps {BUDGET * 3 // 5}",
    "objective: cosine distance": "--objective.logit-scale 0",
    "objective: with regression targets": "--regression 0.5",
    "truncations: 8 to 16, half the updates": f"--truncation 8 16 {HALF}",
    "weight decay: 0.1": "--weight-decay 0.1",
}


def folder(out: Path, lever: str, seed: int) -> Path:
    return out / f"{'-'.join(''.join(c if c.isalnum() else ' ' for c in lever).split())}-{seed}"


def train(out: Path, lever: str, seed: int) -> None:
    """One run, gone on with where it was broken off; nothing where it is done."""
    here = folder(out, lever, seed)
    if (here / "rule.safetensors").exists():
        return
    words = [sys.executable, "-m", "metarules.meta_training", "--out", str(here), "--seed", str(seed), "--threads", "1"]
    words += ["--resume"] if (here / "checkpoint.safetensors").exists() else []
    words += [*COMMON.split(), *LEVERS[lever].split()]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    print(f"{lever}, seed {seed}: {(done.stdout or done.stderr).strip().splitlines()[-1]}", flush=True)


def judged(path: Path, judge: Judge) -> Tensor:
    """Accuracy on each held-out task, [cases, tasks]."""
    return torch.stack(list(judge(load_rule(path)).values()))


def table(out: Path, levers: Iterable[str], seeds: Iterable[int], rows: list[dict[str, str]]) -> None:
    """A row for each lever that is done for all seeds, written one by one; differences are paired, task by task."""
    judge = Judge(DistributionSettings(), JudgeSettings(tasks=TASKS))
    seeds = list(seeds)
    base: Tensor | None = None
    for lever in levers:
        ends = [folder(out, lever, seed) / "rule.safetensors" for seed in seeds]
        if not all(path.exists() for path in ends):
            continue
        found = torch.stack([judged(path, judge) for path in ends])  # [seeds, kinds, tasks]
        base = found if base is None else base
        more = (found - base).mean((0, 1))  # [tasks]
        error = float(more.std(correction=1)) / TASKS**0.5
        row = {"lever": lever, "set": LEVERS[lever]}
        for kind, values in zip(judge.cases, found.unbind(1), strict=True):
            row |= {f"{kind}, seed {seed}": f"{float(v.mean()):.3f}" for seed, v in zip(seeds, values, strict=True)}
        rows.append({**row, "difference": f"{float(more.mean()):+.3f}", "standard error": f"{error:.3f}"})
        write_atomically(TABLE, csv_text(rows).encode())
        print(", ".join(rows[-1].values()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "levers", help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, a core each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    given = parser.parse_args()
    rows: list[dict[str, str]] = []

    def work() -> None:
        if not given.table_only:
            jobs = [(lever, seed) for lever in LEVERS for seed in given.seeds]
            print(f"{len(jobs)} runs, about two minutes of a core each; a line for each that is done", flush=True)
            with ThreadPoolExecutor(given.workers) as pool:
                list(pool.map(lambda job: train(given.out, *job), jobs))
        table(given.out, LEVERS, given.seeds, rows)

    return exit_status(work, rows)


if __name__ == "__main__":
    sys.exit(main())
