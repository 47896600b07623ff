"""Runs that differ in nothing but the seed: same accuracy, same rule? Those in the package, and how to add some.

    python -m metarules.studies.seeds runs/local-1 runs/local-2 runs/local-3

keeps of each run what lesson 8 shows of it: its rule and card, and of its log the lines with a validation.
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarules._files import csv_text, write_atomically
from metarules.pretrained import load_rule
from metarules.studies.evolution import read_log
from metarules.studies.runs import RECORDED
from metarules.update_rule import LocalRule

SEEDS = RECORDED / "seeds"
_KEPT = ("rule.safetensors", "rule.json")
_LOG = "log.csv"
_CURVES = ("meta_step", "meta_loss")  # of the log; all others are kinds of held-out data


@dataclass(frozen=True, eq=False)
class SeedRun:
    """One run.

    Attributes:
        rule: the one of its best validation.
        log: its curves, see `studies.evolution.read_log`.
    """

    rule: LocalRule
    log: dict[str, list[float]]

    @property
    def seed(self) -> int:
        """What it was started with."""
        return int(self.rule.card["seed"])

    @property
    def accuracy(self) -> float:
        """Held-out few-shot accuracy at the best validation, mean over the kinds of data."""
        kinds = [values for name, values in self.log.items() if name not in _CURVES]
        means = [sum(row) / len(row) for row in zip(*kinds, strict=True) if all(map(math.isfinite, row))]
        return max(means)


def read_seeds(folders: Sequence[Path]) -> dict[str, SeedRun]:
    """Runs by name, "seed 1" and so on, in the order of their seeds.

    Args:
        folders: of the runs, as given to `--out`.

    Raises:
        ValueError: two runs of one seed, runs whose rules have other settings, a log that is none.
        OSError: no such run.
    """
    runs: dict[int, SeedRun] = {}
    for folder in folders:
        rule = load_rule(folder / _KEPT[0])
        if not isinstance(rule, LocalRule):
            raise ValueError(f"{folder.name} holds a {type(rule).__name__}; allowed: a LocalRule")
        run = SeedRun(rule, read_log(folder / _LOG))
        if run.seed in runs:
            raise ValueError(f"{folder.name} has seed {run.seed}, as another; allowed: runs of different seeds")
        if any(rule.settings != other.rule.settings for other in runs.values()):
            raise ValueError(f"{folder.name} has a rule of other settings; allowed: runs that differ in the seed alone")
        runs[run.seed] = run
    return {f"seed {seed}": runs[seed] for seed in sorted(runs)}


def recorded_seeds(folder: Path = SEEDS) -> dict[str, SeedRun]:
    """The runs of several seeds that come with the package; none if there are none."""
    return read_seeds(sorted(path for path in folder.glob("*") if path.is_dir()))


def keep_seeds(folders: Sequence[Path], into: Path = SEEDS) -> dict[str, SeedRun]:
    """Put runs into the package, in the place of those that are there; some ten kilobytes each.

    Raises:
        as `read_seeds`, before anything is changed.
    """
    runs = read_seeds(folders)
    by_seed = {load_rule(folder / _KEPT[0]).card["seed"]: folder for folder in folders}
    shutil.rmtree(into, ignore_errors=True)
    for run in runs.values():
        source, target = by_seed[run.seed], into / f"seed_{run.seed}"
        target.mkdir(parents=True)
        for name in _KEPT:
            shutil.copyfile(source / name, target / name)
        with (source / _LOG).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(line for line in file if line.endswith("\n")))
        kinds = [name for name in run.log if name not in _CURVES]
        validated = [row for row in rows if any(row[kind] for kind in kinds)]
        write_atomically(target / _LOG, csv_text(validated).encode())
    return runs


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    for name, run in keep_seeds(parser.parse_args(arguments).runs).items():
        print(f"kept {name}: held-out accuracy {run.accuracy:.3f}, meta-step {run.rule.card['meta_steps']}")


if __name__ == "__main__":
    main()
