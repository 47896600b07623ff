"""`python -m metarules.meta_training --preset laptop --out runs/x`: meta-train a rule, see `--help`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from metarules._checks import check_number
from metarules._memory import keep_memory
from metarules._threads import available_cores, told_threads, use_threads
from metarules._workers import Workers
from metarules.meta_training.plan import PRESETS, Plan, preset
from metarules.meta_training.progress import Progress
from metarules.meta_training.ranks import RankError, Ranks
from metarules.meta_training.run import run
from metarules.meta_training.settings import MetaTrainingSettings

EPILOGUE = """\
settings: --set train.particles=16 rule.channels=24 data.usual_share=1 judge.tasks=8 keep.save_every=10
  train  the outer loop     metarules.meta_training.MetaTrainingSettings (each also as an option, see above)
  data   the tasks          metarules.tasks.DistributionSettings
  rule   what is trained    metarules.update_rule.LocalRuleSettings
  judge  the validation     metarules.meta_training.JudgeSettings
  keep   what is kept       metarules.meta_training.KeepSettings
several processes: torchrun --nproc-per-node 2 -m metarules.meta_training --preset laptop --out runs/x"""


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run.

    Args:
        arguments: without the program's name; None takes the command line's.

    Returns:
        Exit status: 0, 2 after an error (said on stderr), 130 when stopped by hand.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    again = f"--out {given.out} --resume goes on from the last checkpoint"
    try:
        keep_memory()
        torch.set_flush_denormal(True)  # weights that decay to nothing would slow every product down
        plan = _plan(given)
        with Ranks.from_environment(given.device) as ranks:
            workers = _share_cores(plan, ranks, given.threads)
            with Progress(plan.train.meta_steps, quiet=not ranks.first) as progress:
                path = run(
                    given.out,
                    plan,
                    resume=given.resume,
                    ranks=ranks,
                    workers=workers,
                    watch=progress.watch,
                    say=progress.say,
                )
    except (ValueError, TypeError, OSError, RankError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; {again}", file=sys.stderr)
        return 130
    if ranks.first:
        print(f"wrote {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metarules.meta_training",
        description="Meta-train a rule; log, checkpoints, snapshots and the rule with its card go into one folder.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the run")
    parser.add_argument(
        "--preset", default="laptop", help=f"settings to start from: {', '.join(PRESETS)} (%(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="any setting")
    parser.add_argument("--threads", type=int, help="threads in all (by default a core each)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    usual = parser.add_argument_group("settings of the outer loop, with the laptop preset's values")
    for f in dataclasses.fields(MetaTrainingSettings):
        if f.name != "objective":  # a group of its own: --set train.objective.ridge=1
            value = getattr(PRESETS["laptop"].train, f.name)
            usual.add_argument(f"--{f.name.replace('_', '-')}", metavar="VALUE", help=str(value).replace("%", "%%"))
    return parser


def _plan(given: argparse.Namespace) -> Plan:
    """The preset with everything that was said on the command line."""
    told = [(f.name, getattr(given, f.name, None)) for f in dataclasses.fields(MetaTrainingSettings)]
    changes = [f"train.{name}={value}" for name, value in told if value is not None]
    return preset(given.preset).with_values([*changes, *given.set])


def _share_cores(plan: Plan, ranks: Ranks, threads: int | None) -> Workers:
    """Threads for this process's share of the cores: one group to each first, then more to an operation."""
    s = plan.train
    if threads is None:
        threads = told_threads() or max(1, available_cores() // ranks.size)
    check_number("threads", threads, low=1, integer=True)
    workers = min(threads, s.groups_per_step // ranks.size) if ranks.device.type == "cpu" else 1
    busy = use_threads(s.usual_net, s.batch_size[1], s.particles, plan.rule.channels)  # no more than have work to do
    torch.set_num_threads(max(1, min(busy, threads // max(1, workers))))
    return Workers(max(1, workers))


if __name__ == "__main__":
    sys.exit(main())
