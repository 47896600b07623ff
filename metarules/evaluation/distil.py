"""Which few terms of a rule keep most of what it gains: drop one after the other, each time the one missed least.

python -m metarules.evaluation.distil --rule local --out distilled.csv

Terms are chosen on some held-out tasks and judged on others, so that a lucky choice does not flatter itself. theta is
never trained anew: a rule that was trained with few terms might do better.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_kind, check_names, check_number
from metarules._files import check_target, csv_text, print_whole, text_table, write_atomically
from metarules._threads import use_threads
from metarules._words import exit_status
from metarules.base_model import WIDTHS
from metarules.evaluation.held_out import SEED, held_out, paired_by_kind, validate
from metarules.pretrained import load_rule, own_modules
from metarules.tasks import Task
from metarules.update_rule import LocalRule, UpdateRule

HOW: Mapping[str, Any] = {"steps": 30, "batch_size": 100}  # of `validate`: ours, so that all takes minutes


@dataclass(frozen=True)
class DistilledRow:
    """The rule with some of its terms.

    Attributes:
        terms: those it still has.
        dropped: the one that went last; "" for the whole rule.
        accuracy: kind of held-out data -> mean accuracy.
        share: of what the whole rule gains over untaught base models, mean over the kinds; 1 for the whole rule.
        error: standard error of the share over the held-out tasks, of paired differences from the whole rule.
    """

    terms: tuple[str, ...]
    dropped: str
    accuracy: Mapping[str, float]
    share: float
    error: float


def with_terms(rule: UpdateRule, terms: Sequence[str]) -> LocalRule:
    """The same rule with only these of its terms.

    Raises:
        ValueError: a name that is no term of this rule.
    """
    local = check_kind("rule", rule, LocalRule)
    check_names("terms", terms, local.settings.terms)
    return local.with_scales(terms={name: 0.0 for name in local.settings.terms if name not in terms})


Scores = Mapping[str, Tensor]  # kind of held-out data -> accuracy on each of its tasks [tasks]


def scores(rule: UpdateRule, tasks: Mapping[str, Task], **how: Any) -> dict[str, Tensor]:
    """Accuracy of a rule on held-out tasks, kind -> [tasks]; keywords as for `validate`, by default `HOW`."""
    return {kind: validate(rule, task, **{**HOW, **how}) for kind, task in tasks.items()}


def share_kept(accuracy: Scores, whole: Scores, untaught: Scores) -> tuple[float, float]:
    """(accuracy - untaught) / (whole - untaught), each the mean over the kinds: 1 keeps all of the gain, 0 nothing.

    Returns:
        The share, and its standard error over the tasks (the gain is taken as known): nan for one task of a kind.
    """
    (gained, _), (more, stderr) = paired_by_kind(whole, untaught), paired_by_kind(accuracy, whole)
    return 1 + more["mean"] / gained["mean"], stderr["mean"] / abs(gained["mean"])


def distil(
    rule: UpdateRule,
    choose: Mapping[str, Task],
    judge: Mapping[str, Task],
    *,
    fewest: int = 1,
    report: Callable[[str], None] = lambda text: None,
    **how: Any,
) -> Iterator[DistilledRow]:
    """Drop terms one by one, each time the one without which the others do best.

    Args:
        rule: a `LocalRule`; terms that are switched off already stay so.
        choose: kind -> held-out tasks that the choice is made on.
        judge: kind -> held-out tasks for the numbers in the rows.
        fewest: terms to end with.
        report: is told which term goes.
        how: keywords of `validate`, by default `HOW`.

    Yields:
        A row for the whole rule and one after every drop.

    Raises:
        TypeError, ValueError: as `with_terms` and `validate`; fewest is no whole number from 1.
    """
    check_number("fewest", fewest, low=1, integer=True)
    settings = check_kind("rule", rule, LocalRule).settings
    left = [name for name in settings.terms if settings.term_scale(name)]
    untaught, whole = scores(rule, judge, **{**how, "steps": 0}), scores(rule, judge, **how)
    yield DistilledRow(tuple(left), "", _means(whole), 1.0, 0.0)
    while len(left) > fewest:
        found = {name: scores(with_terms(rule, [k for k in left if k != name]), choose, **how) for name in left}
        least = max(found, key=lambda name: sum(_means(found[name]).values()))
        left.remove(least)
        accuracy = scores(with_terms(rule, left), judge, **how)
        share, error = share_kept(accuracy, whole, untaught)
        report(f"{len(left):2d} terms left, without {least}: {share:.2f} ± {error:.2f} of the gain")
        yield DistilledRow(tuple(left), least, _means(accuracy), share, error)


def _means(accuracy: Scores) -> dict[str, float]:
    return {kind: float(of_tasks.mean()) for kind, of_tasks in accuracy.items()}


def distilled_csv(rows: Sequence[DistilledRow]) -> str:
    """The rows as CSV: number, dropped, terms (with spaces between), an accuracy for each kind, share, its error."""
    return csv_text([_cells(row) for row in rows])


def _cells(row: DistilledRow) -> dict[str, str]:
    accuracies = {kind: f"{value:.4f}" for kind, value in row.accuracy.items()}
    first = {"number": str(len(row.terms)), "dropped": row.dropped, "terms": " ".join(row.terms)}
    return {**first, **accuracies, "share": f"{row.share:.3f}", "standard error": f"{row.error:.3f}"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        arguments: without the program's name; None takes the command line's.

    Returns:
        Exit status: 0, 2 after an error (said on stderr), 130 when stopped by hand; rows that were done are kept.
    """
    prog, layout = "python -m metarules.evaluation.distil", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument(own_modules.OPTION, metavar="MODULE", help=own_modules.HELP)
    parser.add_argument("--rule", default="local", help="a shipped name or a .safetensors file (%(default)s)")
    parser.add_argument("--out", type=Path, help="CSV file to write, after every row, besides printing the table")
    parser.add_argument("--tasks", type=int, default=4, help="held-out tasks of each kind to choose on (%(default)s)")
    rows: list[DistilledRow] = []

    def work() -> None:
        given = parser.parse_args(own_modules.import_modules(arguments))
        check_number("--tasks", given.tasks, low=1, integer=True)
        given.out = given.out and check_target("--out", given.out)
        rule = load_rule(given.rule)
        with_terms(rule, ())  # refuses other kinds before the data are rendered
        torch.set_flush_denormal(True)  # weights that decay to nothing would slow every product down
        use_threads((64, *WIDTHS), 100, given.tasks)
        choose, judge = held_out(n_tasks=given.tasks), held_out(n_tasks=2 * given.tasks, seed=SEED + 1)
        for row in distil(rule, choose, judge, report=lambda text: print(text, file=sys.stderr, flush=True)):
            rows.append(row)
            if given.out:
                write_atomically(given.out, distilled_csv(rows).encode())

    status = exit_status(work, rows)
    if rows:
        print_whole(text_table([list(_cells(rows[0])), *(list(_cells(row).values()) for row in rows)]))
    return status


if __name__ == "__main__":
    sys.exit(main())
