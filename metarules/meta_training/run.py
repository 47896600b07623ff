"""A whole meta-training run: steps, log, checkpoints, snapshots, and the rule with its card at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarules._workers import Workers
from metarules.evaluation.held_out import Judge
from metarules.meta_training.card import card, revision
from metarules.meta_training.checkpoint import load_checkpoint, previous, save_checkpoint
from metarules.meta_training.log import LOG, SNAPSHOTS, Log, is_snapshot_step
from metarules.meta_training.options import check_command
from metarules.meta_training.outer_loop import MetaStep, MetaTrainer, averaged_rule
from metarules.meta_training.plan import Plan
from metarules.meta_training.ranks import Ranks
from metarules.pretrained import save_rule

CHECKPOINT = "checkpoint.safetensors"
RULE = "rule.safetensors"

Watcher = Callable[[MetaStep, Mapping[str, Tensor] | None], None]


def run(
    out: Path,
    plan: Plan | None = None,
    *,
    resume: bool = False,
    ranks: Ranks | None = None,
    workers: Workers | None = None,
    watch: Watcher = lambda step, scores: None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Meta-train a rule and leave everything in one folder.

    Args:
        out: folder for the log, checkpoints, snapshots of the averaged theta at meta-steps 0, 1, 2, 5, 10, 20, 50, ..
            and the rule.
        plan: all settings.
        resume: go on from the folder's checkpoint; the result is the same as without the break.
        ranks: the processes that share the work; all call this, the first one alone writes and watches.
        workers: threads in which a step's groups are worked on side by side; the numbers are the same for any.
        watch: called after every meta-step with what it reports and, where it was validated, the accuracies [tasks] by
            case of `Judge`; first with meta-step 0.
        say: gets a line of text when there is something to tell, such as a damaged checkpoint.

    Returns:
        Path of the rule written, the averaged theta with the best validation accuracy of the run.

    Raises:
        FileExistsError: `out` holds a run already and `resume` is not given.
        FileNotFoundError: nothing to resume.
        ValueError: no checkpoint that can be used, settings that do not fit each other or that the command on the card
            cannot say, or a run in which no update was taken.
        OSError: the folder cannot be written, or the disk is full.
        RankError: another process of the run has ended.
    """
    plan, ranks = plan or Plan(), ranks or Ranks()
    found = [path for path in (out / CHECKPOINT, previous(out / CHECKPOINT)) if path.is_file()]
    if resume and not found:
        raise FileNotFoundError(f"out is {str(out)!r}, which holds no {CHECKPOINT}; allowed: the folder of a run")
    if not resume and (found or any((out / name).exists() for name in (LOG, RULE, SNAPSHOTS))):
        raise FileExistsError(f"out is {str(out)!r}, which holds a run already; allowed: another folder, or --resume")
    check_command(plan)
    made_by = revision()  # of the code that runs, which may be edited before the end
    rule = plan.make_rule().to(ranks.device)
    trainer = MetaTrainer(rule, plan.train, plan.data, ranks, workers)
    dtype = next(rule.parameters()).dtype
    judge = Judge(plan.data, plan.judge, dtype=dtype, device=ranks.device, workers=workers) if ranks.first else None
    if resume:
        _resume(trainer, found, say)
    else:
        save_checkpoint(trainer, out / CHECKPOINT)  # before anything else is written: a crash can then be resumed
    # step 0 is settled after its checkpoint, all others before theirs
    log = Log(out / LOG, trainer.number or -1, tuple(judge.cases)) if judge else None
    before = log.minutes if log else 0.0
    began = time.monotonic()

    def settle(step: MetaStep) -> None:
        """Write down a meta-step, this one's validation, snapshot and rule."""
        if log is None or judge is None:
            return
        due = step.number % plan.keep.validate_every == 0 or step.number == plan.train.meta_steps
        scores = judge(averaged_rule(trainer)) if due else None
        minutes = before + (time.monotonic() - began) / 60
        log.write(step, minutes, scores)
        if is_snapshot_step(step.number) or step.number == plan.train.meta_steps:
            facts: dict[str, Any] = {"meta_steps": step.number, "minutes": round(minutes, 2), "seed": plan.train.seed}
            if scores:
                facts["validation"] = {kind: round(float(found.mean()), 4) for kind, found in scores.items()}
            save_rule(averaged_rule(trainer), out / SNAPSHOTS / f"{step.number:06d}.safetensors", facts, twin=False)
        if scores is not None and log.best_is_last and trainer.skipped < trainer.number:
            save_rule(averaged_rule(trainer), out / RULE, card(trainer, plan, log, made_by))
        watch(step, scores)

    if trainer.number == 0:
        settle(MetaStep(0, float("nan"), float("nan"), 0.0, False))
    while trainer.number < plan.train.meta_steps:
        step = trainer.step()
        settle(step)
        if step.number % plan.keep.save_every == 0 or step.number == plan.train.meta_steps:
            save_checkpoint(trainer, out / CHECKPOINT)
    if trainer.skipped == trainer.number:
        raise ValueError(
            f"all {trainer.number} updates were skipped, since no meta-gradient was finite, and no {RULE} was written; "
            "allowed: a rule whose steps stay finite"
        )
    return out / RULE


def _resume(trainer: MetaTrainer, paths: list[Path], say: Callable[[str], None]) -> None:
    """Take up the newest checkpoint that can be used; a damaged one is put aside, where no later one replaces it."""
    reasons = []
    for path in paths:
        try:
            load_checkpoint(trainer, path)
        except ValueError as error:
            reasons.append(str(error))
            continue
        break
    else:
        raise ValueError("; ".join(reasons))
    trainer.ranks.sum(torch.zeros(1))  # all processes have read before anything is renamed
    if reasons and trainer.ranks.first:
        say(f"{'; '.join(reasons)}; going on from {path.name}, meta-step {trainer.number}")
        for damaged in paths[: paths.index(path)]:
            os.replace(damaged, damaged.with_name(f"{damaged.stem}_damaged{damaged.suffix}"))
