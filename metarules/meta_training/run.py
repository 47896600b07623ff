"""A whole meta-training run: steps, log, checkpoints, and the rule with its card at the end."""

from __future__ import annotations

import csv
import dataclasses
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import metarules
from metarules.meta_training.checkpoint import load_checkpoint, save_checkpoint
from metarules.meta_training.outer_loop import MetaStep, MetaTrainer
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.meta_training.validation import validate
from metarules.pretrained import save_rule
from metarules.tasks.distribution import DistributionSettings, validation_tasks
from metarules.update_rule import InnerSettings, LocalRule, LocalRuleSettings

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.csv"
RULE = "rule.safetensors"
_VALIDATION_SEED = 20_000  # far from any seed a user picks; ours
_COLUMNS = ("meta_step", "minutes", "meta_loss", "gradient_norm", "learning_rate", "skipped", "glyphs", "decoders")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run is kept.

    Attributes:
        validate_every: meta-steps between two validations of the averaged theta.
        save_every: meta-steps between two checkpoints.
        validation_tasks: tasks of each kind (held-out glyphs, held-out decoders).
    """

    validate_every: int = 50
    save_every: int = 50
    validation_tasks: int = 16


def run(
    out: Path,
    *,
    settings: MetaTrainingSettings | None = None,
    distribution: DistributionSettings | None = None,
    rule_settings: LocalRuleSettings | None = None,
    keeping: RunSettings | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Meta-train a `LocalRule` and leave everything in one folder.

    Args:
        out: folder for the log, the checkpoint and the rule.
        settings, distribution, rule_settings, keeping: see their classes.
        resume: go on from the folder's checkpoint; the result is the same as without the break.
        report: gets a line of text now and then.

    Returns:
        Path of the rule written, the averaged theta with the best validation accuracy of the run.

    Raises:
        FileExistsError: `out` holds a run already and `resume` is not given.
        FileNotFoundError: nothing to resume.
        ValueError: a checkpoint that cannot be used.
    """
    settings = settings or MetaTrainingSettings()
    distribution = distribution or DistributionSettings()
    keeping = keeping or RunSettings()
    if (out / LOG).exists() and not resume:
        raise FileExistsError(f"out is {out.name!r}, which holds a run already; allowed: another folder, or --resume")
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(settings.seed)
    trainer = MetaTrainer(LocalRule(rule_settings, generator=generator), settings, distribution)
    if resume:
        load_checkpoint(trainer, out / CHECKPOINT)
    judge = _Judge(distribution, keeping.validation_tasks)
    log = _Log(out / LOG, trainer.number)
    began = time.monotonic() - 60 * log.minutes
    while trainer.number < settings.meta_steps:
        if trainer.number == 0:
            log.write(MetaStep(0, float("nan"), float("nan"), 0.0, False), 0.0, judge(trainer))
        step = trainer.step()
        minutes = (time.monotonic() - began) / 60
        due = trainer.number % keeping.validate_every == 0 or trainer.number == settings.meta_steps
        scores = judge(trainer) if due else None
        log.write(step, minutes, scores)
        if scores is not None:
            left = minutes / trainer.number * (settings.meta_steps - trainer.number)
            mean = ", ".join(f"{k} {float(v.mean()):.3f}" for k, v in scores.items())
            report(
                f"meta-step {trainer.number}/{settings.meta_steps}: loss {step.loss:.3f}, {mean}, {left:.1f} min left"
            )
            if log.best_is_last:
                _save(trainer, out / RULE, log)
        if trainer.number % keeping.save_every == 0 or trainer.number == settings.meta_steps:
            save_checkpoint(trainer, out / CHECKPOINT)
    return out / RULE


class _Judge:
    """Validation accuracy of a trainer's averaged theta on fixed held-out tasks."""

    def __init__(self, distribution: DistributionSettings, n: int) -> None:
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        self.tasks = {kind: validation_tasks(distribution, n, generator, kind) for kind in ("glyphs", "decoders")}

    def __call__(self, trainer: MetaTrainer) -> dict[str, Tensor]:
        judged = averaged_rule(trainer)
        return {kind: validate(judged, task) for kind, task in self.tasks.items()}


def averaged_rule(trainer: MetaTrainer) -> LocalRule:
    """A rule of its own with the trainer's averaged theta."""
    if not isinstance(trainer.rule, LocalRule):
        raise TypeError(f"trainer.rule is a {type(trainer.rule).__name__}; allowed: LocalRule")
    rule = LocalRule(trainer.rule.settings, dtype=next(trainer.rule.parameters()).dtype)
    rule.load_state_dict(trainer.average)
    return rule


class _Log:
    """log.csv, one row per meta-step; rows past the checkpoint are dropped on resuming."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["meta_step"]) <= number]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self.curve = [_curve_point(row) for row in rows if row["glyphs"]]
        self.minutes = float(rows[-1]["minutes"]) if rows else 0.0

    def write(self, step: MetaStep, minutes: float, scores: dict[str, Tensor] | None) -> None:
        self.minutes = minutes
        row = {
            "meta_step": step.number,
            "minutes": round(minutes, 3),
            "meta_loss": round(step.loss, 5),
            "gradient_norm": round(step.gradient_norm, 5),
            "learning_rate": step.learning_rate,
            "skipped": int(step.skipped),
            **{k: round(float(v.mean()), 4) for k, v in (scores or {}).items()},
        }
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, _COLUMNS, restval="").writerow(row)
        if scores is not None:
            self.curve.append(_curve_point(row))

    @property
    def best_is_last(self) -> bool:
        """True when the newest validation is the best of the run after its start (mean of both kinds)."""
        means = [p["glyphs"] + p["decoders"] for p in self.curve if p["meta_step"] > 0]
        return bool(means) and means[-1] == max(means)


def _curve_point(row: dict[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in ("meta_step", "minutes", "glyphs", "decoders")}


def _save(trainer: MetaTrainer, path: Path, log: _Log) -> None:
    card = {
        "what": "LocalRule meta-trained by truncated backpropagation (metarules.meta_training)",
        "meta_training": _plain(trainer.settings),
        "distribution": _plain(trainer.distribution),
        "seed": trainer.settings.seed,
        "meta_steps": trainer.number,
        "skipped": trainer.skipped,
        "minutes": round(log.minutes, 1),
        "validation": log.curve,
        "revision": _revision(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "metarules": metarules.__version__,
        "recommended": dataclasses.asdict(InnerSettings()),
        "digits_reads": 0,
    }
    save_rule(averaged_rule(trainer), path, card)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def _revision() -> str:
    """The git revision of the code, or "unknown" outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
