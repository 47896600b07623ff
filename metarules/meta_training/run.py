"""A whole meta-training run: steps, log, checkpoints, and the rule with its card at the end."""

from __future__ import annotations

import csv
import dataclasses
import io
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
from metarules._checks import check_number
from metarules._files import write_atomically
from metarules.meta_training.checkpoint import load_checkpoint, save_checkpoint
from metarules.meta_training.outer_loop import MetaStep, MetaTrainer
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.meta_training.validation import N_SETS, validate
from metarules.pretrained import plain, save_rule
from metarules.tasks.distribution import DistributionSettings, validation_tasks
from metarules.update_rule import InnerSettings, LocalRule, LocalRuleSettings

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.csv"
RULE = "rule.safetensors"
COMMAND_LINE = ("seed", "meta_steps", "particles", "learning_rate")  # settings that the command line can change
_COLUMNS = ("meta_step", "minutes", "meta_loss", "gradient_norm", "learning_rate", "skipped", "glyphs", "decoders")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run is kept, and how it is judged by `validate` on held-out tasks.

    Attributes:
        validate_every: meta-steps between two validations of the averaged theta.
        save_every: meta-steps between two checkpoints.
        validation_tasks: tasks of each kind (held-out glyphs, held-out decoders).
        widths, steps, batch_size, labels_per_class: what `validate` is given.
        seed: of the validation's tasks.
    """

    validate_every: int = 50  # ours: about a minute apart
    save_every: int = 50  # ours: a crash costs no more than that minute
    validation_tasks: int = 16  # ours: standard error of the mean accuracy about 0.02, less for two rules compared
    widths: tuple[int, ...] = (32, 32, 32)  # the net that rules are judged by on digits
    steps: int = 100  # what the card recommends
    batch_size: int = 200  # likewise
    labels_per_class: int = 10  # paper: 10-shot
    seed: int = 20_000  # ours: far from any seed a user picks for training

    def __post_init__(self) -> None:
        for name in ("validate_every", "save_every", "validation_tasks", "labels_per_class"):
            check_number(name, getattr(self, name), low=1, integer=True)
        for name, least in (("steps", 0), ("batch_size", 2), ("seed", 0)):
            check_number(name, getattr(self, name), low=least, integer=True)
        if not self.widths:
            raise ValueError("widths is empty; allowed: at least one layer width")


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
        ValueError: a checkpoint that cannot be used, or settings that do not fit each other.
        OSError: the folder cannot be written.
    """
    settings = settings or MetaTrainingSettings()
    distribution = distribution or DistributionSettings()
    keeping = keeping or RunSettings()
    if resume and not (out / CHECKPOINT).is_file():
        raise FileNotFoundError(f"out is {str(out)!r}, which holds no {CHECKPOINT}; allowed: the folder of a run")
    if not resume and any((out / name).exists() for name in (LOG, CHECKPOINT, RULE)):
        raise FileExistsError(f"out is {str(out)!r}, which holds a run already; allowed: another folder, or --resume")
    revision = _revision()  # of the code that runs, which may be edited before the end
    judge = _Judge(distribution, keeping)
    generator = torch.Generator().manual_seed(settings.seed)
    trainer = MetaTrainer(LocalRule(rule_settings, generator=generator), settings, distribution)
    if resume:
        load_checkpoint(trainer, out / CHECKPOINT)
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
                _save(trainer, out / RULE, log, keeping, revision)
        if trainer.number % keeping.save_every == 0 or trainer.number == settings.meta_steps:
            save_checkpoint(trainer, out / CHECKPOINT)
    return out / RULE


class _Judge:
    """Validation accuracy of a trainer's averaged theta on fixed held-out tasks."""

    def __init__(self, distribution: DistributionSettings, keeping: RunSettings) -> None:
        n, per_class = distribution.n_examples, distribution.n_examples // distribution.n_classes
        if keeping.batch_size > n or keeping.labels_per_class * N_SETS > per_class:
            raise ValueError(
                f"batch_size and labels_per_class of the validation are {keeping.batch_size} and "
                f"{keeping.labels_per_class}; allowed: up to {n} and {per_class // N_SETS} (n_examples, n_classes)"
            )
        generator = torch.Generator().manual_seed(keeping.seed)
        count = keeping.validation_tasks
        self.tasks = {kind: validation_tasks(distribution, count, generator, kind) for kind in ("glyphs", "decoders")}
        self.how = {name: getattr(keeping, name) for name in ("widths", "steps", "batch_size", "labels_per_class")}

    def __call__(self, trainer: MetaTrainer) -> dict[str, Tensor]:
        judged = averaged_rule(trainer)
        return {kind: validate(judged, task, **self.how) for kind, task in self.tasks.items()}


def averaged_rule(trainer: MetaTrainer) -> LocalRule:
    """A rule of its own with the trainer's averaged theta.

    Raises:
        TypeError: the trainer's rule is no `LocalRule`.
    """
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
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())
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


def _save(trainer: MetaTrainer, path: Path, log: _Log, keeping: RunSettings, revision: str) -> None:
    card = {
        "what": "LocalRule meta-trained by truncated backpropagation (metarules.meta_training)",
        "command": _command(trainer.settings, trainer.distribution, keeping, trainer.rule.settings),
        "meta_training": plain(trainer.settings),
        "distribution": plain(trainer.distribution),
        "keeping": plain(keeping),
        "seed": trainer.settings.seed,
        "meta_steps": trainer.number,
        "skipped": trainer.skipped,
        "minutes": round(log.minutes, 1),
        "validation": log.curve,
        "revision": revision,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "metarules": metarules.__version__,
        "recommended": plain(InnerSettings()),
        "digits_reads": 0,
    }
    save_rule(averaged_rule(trainer), path, card)


def _command(settings: MetaTrainingSettings, *others: Any) -> str:
    """The one command that makes this rule again; where the command line cannot say it all, the function that can."""
    usual = MetaTrainingSettings()
    values = {name: getattr(settings, name) for name in COMMAND_LINE}
    options = {name: value for name, value in values.items() if value != getattr(usual, name)}
    if dataclasses.replace(usual, **options) != settings or any(other != type(other)() for other in others):
        return "metarules.meta_training.run with the settings on this card"
    words = [f" --{name.replace('_', '-')} {value}" for name, value in options.items()]
    return "python -m metarules.meta_training --out runs/local" + "".join(words)


def _revision() -> str:
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
