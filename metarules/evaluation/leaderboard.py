"""A leaderboard of one's own: rules ranked on held-out data, in a small JSON file.

Every entry is judged on the same tasks with the same base models, batches and labels, so that two of them can be
compared task by task. The tasks are those that meta-training runs are validated on; real data sets have no part in it,
since what is looked at while one tunes a rule can no longer judge it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_choice
from metarules._files import check_target, read_text, text_table, write_atomically
from metarules._work import Progress, Stopped
from metarules.evaluation.held_out import JudgeSettings, held_out, validate, validate_baseline
from metarules.evaluation.locality import lateral_signals
from metarules.evaluation.results import mean_and_stderr
from metarules.pretrained.finding import get_rule, rule_names
from metarules.tasks import DistributionSettings, Task
from metarules.update_rule import FunctionRule, UpdateRule, check_rule

KINDS = ("glyphs", "handwriting")  # of held-out data, unless asked for otherwise: letters in unseen fonts, and strokes
BASELINES = ("raw", "random_init", "pca_32", "kmeans_32")  # of 32 numbers, like the rules' top layer, or the inputs
FEW = 20  # numbers that a rule may have for the second prize
BOARD = JudgeSettings(tasks=4, wide=(), steps=50, batch_size=100)  # ours: two seconds for a learned rule; runs take 16
_FORMAT = 1
_LONGEST = 40  # letters of a name


@dataclass(frozen=True)
class Entry:
    """One line of the board.

    Attributes:
        name: what it is called.
        accuracies: kind of held-out data -> few-shot accuracy on each of its tasks.
        numbers: size of theta, the numbers that were learned; 0 for a hand-written rule; None for a baseline.
        lateral: the signals between neurons that it uses, see `lateral_signals`; None for a baseline.
        own: whether the reader entered it.
        mark: a fingerprint of the rule as it was judged.
    """

    name: str
    accuracies: Mapping[str, tuple[float, ...]]
    numbers: int | None
    lateral: tuple[str, ...] | None
    own: bool
    mark: str

    @property
    def means(self) -> dict[str, float]:
        """Mean accuracy by kind."""
        return {kind: sum(a) / len(a) for kind, a in self.accuracies.items()}

    @property
    def score(self) -> float:
        """What the board is sorted by: the mean over kinds."""
        return sum(self.means.values()) / len(self.accuracies)

    @property
    def is_rule(self) -> bool:
        """Whether it is a rule, which can win a prize, or a baseline."""
        return self.numbers is not None

    @property
    def strictly_local(self) -> bool:
        """Whether it is a rule that uses no signal between neurons of a layer."""
        return self.lateral == ()


@dataclass(frozen=True)
class Standing:
    """What became of a rule that was entered.

    Attributes:
        entry: its line; None where it was not taken.
        sentence: its place, or why it was not taken.
    """

    entry: Entry | None
    sentence: str

    def __repr__(self) -> str:
        return self.sentence


class Leaderboard:
    """Rules ranked by what they are worth on held-out data, kept in a file.

    Args:
        path: the file; made when the first entry is written. It is read anew before each change, and replaced whole.
        kinds: of held-out data: "glyphs" (letters), "handwriting", "decoders", or a family of your own.
        settings: how rules are judged; `BOARD` by default.

    Raises:
        ValueError: an unknown kind, a file that is no leaderboard, or one that was judged otherwise.
        OSError: a file that cannot be read, or, on a change of the board, be written.

    Example:
        board = Leaderboard("my_leaderboard.json")
        board.fill()
        board.enter(my_rule, "mine")
        print(board.table())
    """

    def __init__(
        self, path: str | os.PathLike[str], kinds: tuple[str, ...] = KINDS, settings: JudgeSettings | None = None
    ) -> None:
        self.path, self.kinds, self.settings = Path(path), tuple(kinds), settings or BOARD
        known = DistributionSettings().held_out
        for kind in self.kinds:
            check_choice("kinds", kind, known)
        self._tasks: dict[str, Task] = {}
        self.entries()

    # ---- what stands there

    def entries(self) -> list[Entry]:
        """All lines, the best first.

        Raises:
            ValueError: the file is no leaderboard, or was judged otherwise.
        """
        try:
            found = json.loads(read_text(self.path))
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']}")
            how = found["judged"]
            entries = [_entry(line) for line in found["entries"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"path is {self.path.name}, which cannot be read ({type(error).__name__}: {error}); allowed: a file "
                "written by Leaderboard, or a new name"
            ) from None
        if how != self._how():
            raise ValueError(
                f"{self.path.name} was judged with {_told(how)}; allowed: {_told(self._how())}, since numbers of other "
                "tasks cannot be ranked together, or a new name"
            )
        return sorted(entries, key=lambda entry: -entry.score)

    def __getitem__(self, name: str) -> Entry:
        """The line of that name.

        Raises:
            ValueError: no such line.
        """
        entries = {entry.name: entry for entry in self.entries()}
        return entries[check_choice("name", name, entries)]

    def prizes(self) -> dict[str, Entry]:
        """The best rule, the best strictly local one, and the best with at most `FEW` numbers, where there are any."""
        rules = [entry for entry in self.entries() if entry.is_rule]
        few = f"best with at most {FEW} numbers"
        runners = {
            "best rule": rules,
            "best strictly local rule": [entry for entry in rules if entry.strictly_local],
            few: [entry for entry in rules if entry.numbers is not None and entry.numbers <= FEW],
        }
        return {prize: field[0] for prize, field in runners.items() if field}

    def difference(self, name: str, other: str) -> tuple[float, float]:
        """Mean accuracy of one line less that of another, and its standard error, paired over all tasks.

        Raises:
            ValueError: no such line.
        """
        a, b = (_flat(self[which]) for which in (name, other))
        return mean_and_stderr(a - b)

    def table(self) -> str:
        """The board as aligned text, and who holds the prizes."""
        names = [_KIND_NAMES.get(kind, kind) for kind in self.kinds]
        lines = [["", "rule or baseline", *names, "mean", "learned numbers", "signals between neurons"]]
        for place, e in enumerate(self.entries(), start=1):
            numbers = "" if e.numbers is None else f"{e.numbers:,}"
            lateral = "(baseline)" if e.lateral is None else ", ".join(e.lateral) or "none"
            means = [f"{e.means[kind]:.2f}" for kind in self.kinds]
            lines.append([str(place), f"{e.name} *" if e.own else e.name, *means, f"{e.score:.2f}", numbers, lateral])
        prizes = [f"{prize}: {entry.name}" for prize, entry in self.prizes().items()]
        return "\n".join([text_table(lines, left=2), "* yours", *prizes])

    # ---- changing it

    def enter(self, rule: Any, name: str) -> Standing:
        """Check a rule, judge it and write it down; a line of the same name is replaced if it is your own.

        Args:
            rule: an `UpdateRule`, or a function from (phi, batch) to phi.
            name: what the board shall call it, up to 40 letters.

        Returns:
            Its place, or the reason why it was not taken, in a sentence: a clause of the contract that is broken,
            labels that it needs, a name that is taken.
        """
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST:
            return Standing(None, f"Not ranked: name is {name!r}; allowed: 1 to {_LONGEST} letters.")
        name = name.strip()
        if name in self._field() or name in BASELINES:
            return Standing(None, f"Not ranked: the name {name!r} belongs to a rule of this package; allowed: another.")
        check = check_rule(rule)
        if not check.passed:
            first = check.failures[0]
            return Standing(None, f"Not ranked: {first.sentence}. (check_rule says more.)")
        fit = FunctionRule.of(rule)
        if fit.needs_labels:
            return Standing(None, "Not ranked: this rule needs labels; allowed: a rule that learns without them.")
        check_target("path", self.path)  # before the work
        entry = self._judge_rule(name, fit, own=True)
        self._write([entry])
        lines = self.entries()
        place = [e.name for e in lines].index(name) + 1
        means = ", ".join(f"{_KIND_NAMES.get(kind, kind)} {mean:.2f}" for kind, mean in entry.means.items())
        won = [prize for prize, holder in self.prizes().items() if holder.name == name]
        prizes = f" It is the {' and the '.join(won)}." if won else ""
        return Standing(entry, f"{name} stands {place} of {len(lines)}: {means}.{prizes}")

    def fill(self, progress: Progress | None = None, stop: threading.Event | None = None) -> None:
        """Judge the rules of this package and the baselines, those that are not on the board as they are now.

        Args:
            progress: called with (done, all) after each.
            stop: set it to stop before the next; what is judged by then is kept.

        Raises:
            Stopped: `stop` was set.
        """
        check_target("path", self.path)
        now = {entry.name: entry.mark for entry in self.entries()}
        jobs: list[Callable[[], Entry]] = []
        for name, rule in self._field().items():
            if now.get(name) != rule_mark(rule):
                jobs.append(partial(self._judge_rule, name, rule, own=False))
        jobs += [partial(self._judge_baseline, name) for name in BASELINES if name not in now]
        for done, job in enumerate(jobs):
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped after {done} of {len(jobs)}")
            self._write([job()])
            if progress is not None:
                progress(done + 1, len(jobs))

    def remove(self, name: str) -> None:
        """Take a line off the board.

        Raises:
            ValueError: no such line.
        """
        self[name]
        self._store([entry for entry in self.entries() if entry.name != name])

    # ---- judging

    def tasks(self) -> dict[str, Task]:
        """The held-out tasks by kind, drawn when first needed."""
        if not self._tasks:
            drawn = held_out(DistributionSettings(), self.settings.tasks, self.settings.seed)
            self._tasks = {kind: drawn[kind] for kind in self.kinds}
        return self._tasks

    def _judge_rule(self, name: str, rule: UpdateRule, own: bool) -> Entry:
        s, accuracies = self.settings, {}
        dtype = next((p.dtype for p in rule.parameters()), torch.float32)
        for kind, task in self.tasks().items():
            found = validate(
                rule,
                task.to(dtype=dtype),
                widths=s.widths,
                steps=s.steps,
                batch_size=s.batch_size,
                labels_per_class=s.labels_per_class,
            )
            accuracies[kind] = _rounded(found)
        numbers = sum(p.numel() for p in rule.parameters())
        return Entry(name, accuracies, numbers, lateral_signals(rule), own, rule_mark(rule))

    def _judge_baseline(self, name: str) -> Entry:
        s = self.settings
        accuracies = {}
        for kind, task in self.tasks().items():
            found = validate_baseline(name, task, widths=s.widths, labels_per_class=s.labels_per_class)
            accuracies[kind] = _rounded(found)
        return Entry(name, accuracies, None, None, False, name)

    def _field(self) -> dict[str, UpdateRule]:
        rules = {name: get_rule(name) for name in rule_names()}
        return {name: rule for name, rule in rules.items() if not rule.needs_labels}

    # ---- the file

    def _how(self) -> dict[str, Any]:
        return {**json.loads(json.dumps(asdict(self.settings))), "kinds": list(self.kinds)}

    def _write(self, new: list[Entry]) -> None:
        names = {entry.name for entry in new}
        self._store([entry for entry in self.entries() if entry.name not in names] + new)

    def _store(self, entries: list[Entry]) -> None:
        content = {"format": _FORMAT, "judged": self._how(), "entries": [asdict(entry) for entry in entries]}
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())


_KIND_NAMES = {"glyphs": "letters"}


def _entry(line: Mapping[str, Any]) -> Entry:
    accuracies = {str(kind): tuple(map(float, values)) for kind, values in line["accuracies"].items()}
    lateral = line["lateral"]
    return Entry(
        name=str(line["name"]),
        accuracies=accuracies,
        numbers=line["numbers"],
        lateral=None if lateral is None else tuple(lateral),
        own=bool(line["own"]),
        mark=str(line["mark"]),
    )


def rule_mark(rule: UpdateRule) -> str:
    """A fingerprint of class, settings and theta."""
    digest = hashlib.sha256(f"{type(rule).__qualname__} {getattr(rule, 'settings', '')!r}".encode())
    for name, tensor in sorted(rule.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _rounded(accuracies: Tensor) -> tuple[float, ...]:
    return tuple(round(float(a), 4) for a in accuracies)


def _flat(entry: Entry) -> Tensor:
    """All accuracies of an entry, one row: [1, tasks of all kinds]."""
    return torch.tensor([[a for values in entry.accuracies.values() for a in values]], dtype=torch.float64)


def _told(how: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in how.items())
