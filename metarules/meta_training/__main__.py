"""`python -m metarules.meta_training --out runs/x`: meta-train a rule, see `--help`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from metarules._threads import use_threads
from metarules.meta_training.run import run
from metarules.meta_training.settings import MetaTrainingSettings


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run.

    Args:
        arguments: without the program's name; None takes the command line's.

    Returns:
        Exit status: 0, 2 after an error (said on stderr), 130 when stopped by hand.
    """
    defaults = MetaTrainingSettings()
    parser = argparse.ArgumentParser(
        prog="python -m metarules.meta_training",
        description="Meta-train a LocalRule; the log, checkpoint and rule with its card go into one folder.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the run")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of everything random (%(default)s)")
    parser.add_argument("--meta-steps", type=int, default=defaults.meta_steps, help="updates (%(default)s)")
    parser.add_argument("--particles", type=int, default=defaults.particles, help="tasks at once (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="Adam's (%(default)s)")
    parser.add_argument("--threads", type=int, help="torch threads (by default as many as the particles keep busy)")
    given = parser.parse_args(arguments)
    try:
        torch.set_flush_denormal(True)  # weights that decay to nothing would slow every product down
        settings = replace(
            defaults,
            seed=given.seed,
            meta_steps=given.meta_steps,
            particles=given.particles,
            learning_rate=given.learning_rate,
        )
        widest = [max(widths) for widths in settings.architectures]
        use_threads(widest, settings.batch_size[1], settings.particles, threads=given.threads)
        path = run(given.out, settings=settings, resume=given.resume, report=lambda text: print(text, flush=True))
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; --out {given.out} --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
