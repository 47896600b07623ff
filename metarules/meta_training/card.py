"""What a run says of the rules it leaves behind."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import metarules
from metarules.meta_training.log import Log
from metarules.meta_training.outer_loop import MetaTrainer
from metarules.meta_training.plan import Plan
from metarules.pretrained import plain
from metarules.update_rule import InnerSettings


def card(trainer: MetaTrainer, plan: Plan, log: Log, revision: str) -> dict[str, Any]:
    """Everything that is needed to make the rule again, and to know what it cost and how good it was."""
    return {
        "what": f"{type(trainer.rule).__name__} meta-trained by metarules.meta_training",
        "command": plan.command(),
        "plan": {name: value for name, value in plain(plan).items() if name != "rule"},  # the rule's are beside it
        "seed": plan.train.seed,
        "meta_steps": trainer.number,
        "skipped": trainer.skipped,
        "minutes": round(log.minutes, 1),
        "validation": log.curve,
        "revision": revision,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "processes": trainer.ranks.size,
        "metarules": metarules.__version__,
        "recommended": plain(InnerSettings()),
        "digits_reads": 0,
    }


def revision() -> str:
    """The git revision of this code, "-dirty" where files were changed since; "unknown" outside a checkout of it."""
    here = Path(__file__)

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an installed copy may lie in somebody else's checkout
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
