"""What a rule loses when one thing is taken away from it without retraining.

python -m metarules.evaluation.ablation --rule local

Every variant is the same theta with one switch turned, judged by `validate` on the same held-out tasks with the same
base models and batches, so that differences are paired task by task. A rule that was trained without the thing might do
better: the table says what the trained rule leans on, not what a rule needs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_kind, check_number, shown
from metarules._files import check_target, csv_text, print_whole, text_table, write_atomically
from metarules._threads import use_threads
from metarules._words import exit_status
from metarules._work import time_left
from metarules.base_model import WIDTHS
from metarules.evaluation.held_out import N_TASKS, held_out, paired_by_kind, validate
from metarules.evaluation.stream import like_after_like
from metarules.pretrained import load_rule, own_modules
from metarules.tasks import Task
from metarules.update_rule import LOCAL_INPUTS, LocalRule, UpdateRule
from metarules.update_rule.learned import BACKWARD_UPDATES

WHOLE = "the whole rule"
HAND_TERMS = ("hebb", "decorr_x", "soft")  # what the hand-written recipe is made of
INPUT_GROUPS = {
    "weight statistics and bias": ("weight_stats", "bias"),
    "lateral signals": ("layer_stats", "softmax"),
    "all": LOCAL_INPUTS,
}
LATERAL = {  # switch of `LocalRuleSettings` -> what it takes away
    "decorrelation": "the term decorr_x",
    "layer_stats": "the input layer_stats",
    "softmax": "input softmax and term soft",
}
_STREAM = {"memory": 0, "alike_in": "stream", "neighbours": 1}
_LIKE_AFTER_LIKE = "neighbours: the example before, like after like"
# what a rule that looks neighbours up is given in their place -> settings
NEIGHBOURS: dict[str, dict[str, Any]] = {
    "neighbours: of the batch alone": {"memory": 0},
    "neighbours: the example before, drawn at random": _STREAM,
    _LIKE_AFTER_LIKE: _STREAM,
}
_ORDERS = {_LIKE_AFTER_LIKE: like_after_like}  # of the examples of a batch
_BACKWARD = {
    "identical": "V takes W's change",
    "separate": "V has terms of its own",
    "fixed": "V stays random",
    "tied": "V is W",
}


@dataclass(frozen=True)
class AblationRow:
    """One variant against the whole rule.

    Attributes:
        what: what was taken away, or the whole rule.
        accuracy: kind of held-out data -> mean accuracy over its tasks.
        difference: kind -> that mean less the whole rule's; "mean" -> the mean over kinds.
        stderr: the same keys -> paired standard error over tasks.
    """

    what: str
    accuracy: Mapping[str, float]
    difference: Mapping[str, float]
    stderr: Mapping[str, float]


def variants(rule: UpdateRule) -> dict[str, LocalRule]:
    """The rule, and once for each thing that can be taken away, without it; theta is the same in all.

    Args:
        rule: a `LocalRule`.

    Returns:
        What was taken away -> rule, `WHOLE` first. What the rule does without already is left out.

    Raises:
        TypeError: another kind of rule.
    """
    local = check_kind("rule", rule, LocalRule)
    s, found = local.settings, {WHOLE: local}
    for name in s.terms:
        if s.term_scale(name):
            found[f"term {name}"] = local.with_scales(terms={name: 0.0})
    found["terms: all but hebb, decorr_x, soft"] = _without(local, terms=[k for k in s.terms if k not in HAND_TERMS])
    for name in LOCAL_INPUTS:
        if s.input_scale(name):
            found[f"input {name}"] = local.with_scales(inputs={name: 0.0})
    for name, members in INPUT_GROUPS.items():
        found[f"inputs: {name}"] = _without(local, inputs=members)
    lateral = {name: False for name in LATERAL if getattr(s, name)}
    for name in lateral:
        found[f"lateral signal {name} ({LATERAL[name]})"] = rebuilt(local, **{name: False})
    if len(lateral) > 1:
        found["lateral signals: all"] = rebuilt(local, **lateral)
    for mode in BACKWARD_UPDATES:
        if mode != s.backward_update:
            found[f"backward weights: {_BACKWARD[mode]}"] = rebuilt(local, backward_update=mode)
    if s.memory:
        found |= {name: rebuilt(local, **other) for name, other in NEIGHBOURS.items()}
    if s.top_signal:
        found["top signal (d^L = 0)"] = rebuilt(local, top_signal=False)
    return found


def chosen_variants(rule: UpdateRule, only: Sequence[str]) -> dict[str, LocalRule]:
    """Those of `variants` whose names begin with one of some texts, the whole rule first; all for no text.

    Raises:
        TypeError: as `variants`.
        ValueError: a text that no name begins with.
    """
    found = variants(rule)
    for text in only:
        if not any(what.startswith(text) for what in found):
            raise ValueError(f"only names {shown(text)}; allowed: beginnings of {', '.join(found)}")
    return {what: one for what, one in found.items() if not only or what == WHOLE or what.startswith(tuple(only))}


def rebuilt(rule: LocalRule, **switches: Any) -> LocalRule:
    """A rule with other switches and a copy of the same theta.

    Args:
        rule: where theta comes from. Where it has no read-outs for V, those for W are copied.
        switches: fields of `LocalRuleSettings`, none that sets a size.

    Raises:
        TypeError: a name that is no field.
        ValueError: a value that the settings refuse.
    """
    theta = rule.state_dict()
    new = LocalRule(replace(rule.settings, **switches), dtype=rule.log_lr.dtype)
    wanted = new.state_dict()
    new.load_state_dict({k: theta[k if k in theta else k.replace("backward_", "forward_", 1)] for k in wanted})
    new.recommended = rule.recommended
    return new


def ablation(
    rule: UpdateRule,
    tasks: Mapping[str, Task],
    *,
    only: Sequence[str] = (),
    report: Callable[[str], None] = lambda text: None,
    **how: Any,
) -> Iterator[AblationRow]:
    """Validation accuracy of every variant of a rule, one after the other.

    Args:
        rule: a `LocalRule`.
        tasks: kind -> held-out tasks [tasks, N, n_0], at least two, as `held_out` makes them.
        only: beginnings of the names of the variants wanted, such as "term" or "neighbours"; none for all. The whole
            rule comes first in any case.
        report: is told which variant is next.
        how: keywords of `validate`: widths, steps, batch_size, labels_per_class, seed.

    Yields:
        A row for each of `variants(rule)`, or of those wanted, in their order. Base models that diverged count as
        chance.

    Raises:
        TypeError: another kind of rule, or as `validate`.
        ValueError: fewer than two tasks of a kind, which have no standard error, a beginning that no name has, or as
            `validate`.
    """
    for kind, task in tasks.items():
        check_number(f"number of tasks of {kind}", task.tasks[0] if task.tasks else 1, low=2, integer=True)
    whole: dict[str, Tensor] = {}
    began = time.monotonic()
    found = chosen_variants(rule, only)
    for i, (what, variant) in enumerate(found.items(), start=1):
        report(f"[{i}/{len(found)}] {what}{time_left(began, i - 1, len(found))}")
        scores = {kind: validate(variant, task, order=_ORDERS.get(what), **how) for kind, task in tasks.items()}
        whole = whole or scores
        yield _row(what, scores, whole)


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """The rows as text: accuracies, and differences with two standard errors; * marks those further from 0 than that.

    Args:
        rows: from `ablation`.
    """
    kinds = list(rows[0].accuracy)
    lines = [["", *kinds, *(f"difference, {name}" for name in (*kinds, "mean"))]]
    for row in rows:
        cells = [f"{row.accuracy[kind]:.3f}" for kind in kinds]
        for name in (*kinds, "mean"):
            d, e = row.difference[name], row.stderr[name]
            cells.append(f"{d:+.3f} ± {2 * e:.3f} {'*' if abs(d) > 2 * e else ' '}" if row is not rows[0] else "")
        lines.append([row.what, *cells])
    return text_table(lines)


def ablation_csv(rows: Sequence[AblationRow]) -> str:
    """The rows as CSV: what, an accuracy for each kind, then difference and standard error for each and for the mean.

    Args:
        rows: from `ablation`.
    """
    return csv_text([_cells(row) for row in rows])


def _cells(row: AblationRow) -> dict[str, str]:
    numbers = dict(row.accuracy)
    for name in (*row.accuracy, "mean"):
        numbers |= {f"{name}_difference": row.difference[name], f"{name}_stderr": row.stderr[name]}
    return {"what": row.what, **{name: f"{number:.4f}" for name, number in numbers.items()}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        arguments: without the program's name; None takes the command line's.

    Returns:
        Exit status: 0, 2 after an error (said on stderr), 130 when stopped by hand; rows that were done are kept.
    """
    prog, layout = "python -m metarules.evaluation.ablation", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument(own_modules.OPTION, metavar="MODULE", help=own_modules.HELP)
    parser.add_argument("--rule", default="local", help="a shipped name or a .safetensors file (%(default)s)")
    parser.add_argument("--out", type=Path, help="CSV file to write, after every row, besides printing the table")
    parser.add_argument("--tasks", type=int, default=N_TASKS, help="held-out tasks of each kind (%(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="inner steps (%(default)s)")
    parser.add_argument("--only", metavar="TEXT", nargs="+", default=(), help="rows that begin so, such as 'term'")
    rows: list[AblationRow] = []

    def work() -> None:
        given = parser.parse_args(own_modules.import_modules(arguments))
        check_number("--tasks", given.tasks, low=2, integer=True)
        check_number("--steps", given.steps, low=0, integer=True)
        given.out = given.out and check_target("--out", given.out)
        rule = load_rule(given.rule)
        chosen_variants(rule, given.only)  # refuses other kinds and names before the data are rendered
        torch.set_flush_denormal(True)  # weights that decay to nothing would slow every product down
        use_threads((64, *WIDTHS), 200, given.tasks)
        tasks = held_out(n_tasks=given.tasks)
        for row in ablation(rule, tasks, only=given.only, steps=given.steps, report=_to_stderr):
            rows.append(row)
            if given.out:
                write_atomically(given.out, ablation_csv(rows).encode())

    status = exit_status(work, rows)
    if rows:
        print_whole(ablation_table(rows))
    return status


def _without(rule: LocalRule, terms: Sequence[str] = (), inputs: Sequence[str] = ()) -> LocalRule:
    return rule.with_scales(terms=dict.fromkeys(terms, 0.0), inputs=dict.fromkeys(inputs, 0.0))


def _row(what: str, scores: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> AblationRow:
    difference, stderr = paired_by_kind(scores, whole)
    return AblationRow(what, {kind: float(score.mean()) for kind, score in scores.items()}, difference, stderr)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
