"""A whole meta-training run: steps, log, checkpoints, snapshots, and the rule with its card at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from metarules._files import naming, remove_leftovers
from metarules._workers import Workers
from metarules.evaluation.held_out import Judge
from metarules.meta_training.card import card, revision
from metarules.meta_training.checkpoint import (
    CHECKPOINT,
    checkpoints,
    load_checkpoint,
    previous,
    save_checkpoint,
    state_digest,
    stored_plan,
)
from metarules.meta_training.lock import Lock
from metarules.meta_training.log import LOG, SNAPSHOTS, Log, is_snapshot_step
from metarules.meta_training.options import check_command
from metarules.meta_training.outer_loop import MetaStep, MetaTrainer, averaged_rule
from metarules.meta_training.plan import Plan
from metarules.meta_training.ranks import Ranks
from metarules.pretrained import save_rule

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
        plan: all settings; None takes those of `Plan()`, or, to go on, of the folder's checkpoint.
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
        LockedError: another process is at work in `out`.
        FileNotFoundError: nothing to resume, or the best rule so far is gone.
        ValueError: no checkpoint that can be used, settings that do not fit each other or that the command on the card
            cannot say, or a run in which most updates were skipped.
        OSError: the folder cannot be written, or the disk is full.
        RankError: another process of the run has ended, cannot start, or has other settings or another checkpoint.
    """
    ranks, out = ranks or Ranks(), Path(os.path.expanduser(out))
    with ExitStack() as held:
        held.enter_context(naming("out", out, "written"))
        try:
            if resume and not checkpoints(out):
                raise FileNotFoundError(
                    f"out is {str(out)!r}, which holds no {CHECKPOINT}; allowed: the folder of a run"
                )
            if out.exists() and not out.is_dir():
                raise NotADirectoryError(f"out is {str(out)!r}, a file; allowed: a folder")
            if ranks.first:
                held.enter_context(Lock(out))
            found = checkpoints(out)
            if not resume and (found or any((out / name).exists() for name in (LOG, RULE, SNAPSHOTS))):
                raise FileExistsError(
                    f"out is {str(out)!r}, which holds a run already; allowed: another folder, or --resume"
                )
            plan = plan or (stored_plan(found) if resume else None) or Plan()
            check_command(plan)
            made_by = revision()  # of the code that runs, which may be edited before the end
            # a run that goes on has its theta from the checkpoint, wherever the rule it began with may be by now
            rule = (replace(plan, start="") if resume else plan).make_rule().to(ranks.device)
            trainer = MetaTrainer(rule, plan.train, plan.data, ranks, workers)
            how: dict[str, Any] = {"dtype": next(trainer.rule.parameters()).dtype, "device": ranks.device}
            judge = Judge(plan.data, plan.judge, workers=workers, **how) if ranks.first else None
            kept, damaged = _read(trainer, plan, found) if resume else (None, {})
        except (ValueError, TypeError, OSError) as error:
            ranks.compare({"error": str(error)})
            raise
        facts = {"resume": resume, "meta-step": trainer.number, **_leaves(plan.to_plain())}
        ranks.compare(facts | ({"theta": state_digest(trainer)} if resume else {}))  # all have read what they need
        if ranks.first:
            _clear_up(out, damaged, trainer.number, say)
        if not resume:
            save_checkpoint(trainer, out / CHECKPOINT, plan)  # before anything else: a crash can then be resumed
        # step 0 is settled after its checkpoint, all others before theirs
        log = Log(out / LOG, trainer.number or -1, tuple(judge.cases), kept) if judge else None
        if log is not None and log.best is not None and not (out / RULE).is_file():
            if log.best < trainer.number:
                raise FileNotFoundError(
                    f"out is {str(out)!r}, which lacks {RULE}, the best theta so far, of meta-step {log.best}; "
                    f"allowed: that file put back, or a rule of {SNAPSHOTS} in its place"
                )
            save_rule(averaged_rule(trainer), out / RULE, card(trainer, plan, log, made_by))
        before = log.minutes if log else 0.0
        began = time.monotonic()

        def settle(step: MetaStep) -> None:
            """Write down a meta-step, this one's validation, snapshot and rule."""
            if log is None or judge is None:
                return
            last = step.number == plan.train.meta_steps
            scores = judge(averaged_rule(trainer)) if last or step.number % plan.keep.validate_every == 0 else None
            minutes, whole = before + (time.monotonic() - began) / 60, log.behind is None
            log.write(step, minutes, scores)
            if log.behind and (whole or last):
                say(f"{log.behind}; its rows are kept, and written when it can")
            if is_snapshot_step(step.number) or last:
                facts: dict[str, Any] = {"meta_steps": step.number, "minutes": round(minutes, 2)}
                facts["seed"] = plan.train.seed
                if scores:
                    facts["validation"] = {kind: round(float(found.mean()), 4) for kind, found in scores.items()}
                save_rule(averaged_rule(trainer), out / SNAPSHOTS / f"{step.number:06d}.safetensors", facts, twin=False)
            if scores is not None and log.best == step.number:
                save_rule(averaged_rule(trainer), out / RULE, card(trainer, plan, log, made_by))
            watch(step, scores)

        if trainer.number == 0:
            settle(MetaStep(0, float("nan"), float("nan"), 0.0, False))
        while trainer.number < plan.train.meta_steps:
            step = trainer.step()
            settle(step)
            if step.number % plan.keep.save_every == 0 or step.number == plan.train.meta_steps:
                save_checkpoint(trainer, out / CHECKPOINT, plan, log.kept if log else ())
    _check_skipped(trainer, say)
    return out / RULE


def _read(trainer: MetaTrainer, plan: Plan, paths: list[Path]) -> tuple[list[str] | None, dict[Path, str]]:
    """Take up the newest checkpoint that can be used: its log, and what is wrong with those that cannot."""
    damaged: dict[Path, str] = {}
    for path in paths:
        try:
            return load_checkpoint(trainer, path, plan), damaged
        except ValueError as error:
            damaged[path] = str(error)
    raise ValueError("; ".join(damaged.values()))


def _clear_up(out: Path, damaged: Mapping[Path, str], number: int, say: Callable[[str], None]) -> None:
    """Remove what a killed run left half-written; put damaged checkpoints aside, where no later one replaces them."""
    for folder in (out, out / SNAPSHOTS):
        remove_leftovers(folder)
    if damaged:
        say(f"{'; '.join(damaged.values())}; going on from {previous(out / CHECKPOINT).name}, meta-step {number}")
    for path in damaged:
        os.replace(path, path.with_name(f"{path.stem}_damaged{path.suffix}"))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings as one level: `{"train.objective.ridge": 3.0}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _check_skipped(trainer: MetaTrainer, say: Callable[[str], None]) -> None:
    """Say how many updates were skipped.

    Raises:
        ValueError: more than were taken.
    """
    skipped, number = trainer.skipped, trainer.number
    how_many = f"{f'all {number}' if skipped == number else f'{skipped} of {number}'} updates were skipped"
    if 2 * skipped > number:
        left = f"no {RULE} was written" if skipped == number else f"{RULE} is what the others made of it"
        raise ValueError(
            f"{how_many}, since no finite meta-gradient was found, and {left}; allowed: a rule whose steps stay finite"
        )
    if skipped:
        say(f"{how_many}, since no finite meta-gradient was found")
