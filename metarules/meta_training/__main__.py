"""`python -m metarules.meta_training --preset laptop --out runs/x`: meta-train a rule, see `--help`."""

from __future__ import annotations

import shlex
import sys

import torch

from metarules._checks import check_number
from metarules._memory import keep_memory
from metarules._threads import available_cores, told_threads, use_threads
from metarules._workers import Workers
from metarules.meta_training.options import PROGRAM, read_options
from metarules.meta_training.plan import Plan
from metarules.meta_training.progress import Progress
from metarules.meta_training.ranks import RankError, Ranks
from metarules.meta_training.run import run
from metarules.update_rule import LocalRuleSettings, PaperRuleSettings


def main(arguments: list[str] | None = None, prog: str = PROGRAM) -> int:
    """Read the command line and run.

    Args:
        arguments: without the program's name; None takes the command line's.
        prog: what the program is called in its messages.

    Returns:
        Exit status: 0, 2 after an error (said on stderr), 130 when stopped by hand.
    """
    again = ""
    try:
        given = read_options(arguments, prog)
        plan = given.plan
        words = [*plan.imports(), *(["--device", given.device] if given.device != "cpu" else [])]
        again = f"; {shlex.join([*words, '--out', str(given.out), '--resume'])} goes on from the last checkpoint"
        keep_memory()
        torch.set_flush_denormal(True)  # weights that decay to nothing would slow every product down
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
        print(f"stopped{again}", file=sys.stderr)
        return 130
    if ranks.first:
        print(f"wrote {path}")
    return 0


def _share_cores(plan: Plan, ranks: Ranks, threads: int | None) -> Workers:
    """Threads for this process's share of the cores: one group to each first, then more to an operation."""
    s = plan.train
    if threads is None:
        threads = told_threads() or max(1, available_cores() // ranks.size)
    check_number("threads", threads, low=1, integer=True)
    workers = min(threads, s.groups_per_step // ranks.size) if ranks.device.type == "cpu" else 1
    ours = isinstance(plan.rule, (LocalRuleSettings, PaperRuleSettings))  # others may mean something else by channels
    channels = plan.rule.channels if ours else 1
    busy = use_threads(s.usual_net, s.batch_size[1], s.particles, channels)  # no more than have work to do
    torch.set_num_threads(max(1, min(busy, threads // max(1, workers))))
    return Workers(max(1, workers))


if __name__ == "__main__":
    sys.exit(main())
