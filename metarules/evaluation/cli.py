"""The command line: put rules and baselines through the few-shot protocol, print one table, write it as JSON.

python -m metarules.evaluation --rule local --data digits --json results.json
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from metarules._checks import check_kind, check_names, check_number, check_widths
from metarules._files import check_target, print_whole, write_atomically
from metarules._threads import few_threads, told_threads
from metarules._words import Parser, about, nearest
from metarules._work import time_left
from metarules.classic_rules import CLASSIC_RULES
from metarules.evaluation.baselines import BASELINES, UnsuitableError
from metarules.evaluation.leaderboard import rule_mark
from metarules.evaluation.probe import LABELS_PER_CLASS, N_SPLITS
from metarules.evaluation.protocol import Protocol, evaluate_baseline, evaluate_rule
from metarules.evaluation.results import Result, Results, rank_table
from metarules.inner_loop import DivergenceError, inner_settings
from metarules.meta_objective import SingularError
from metarules.pretrained import own_modules
from metarules.pretrained.finding import get_rule, rule_label, rule_names
from metarules.tasks import DATASETS, Dataset, load_dataset, read_dataset
from metarules.update_rule import UpdateRule

NOT_YET = "not evaluated yet"  # why a row is missing in a file of a command that was stopped
PROGRAM = "python -m metarules.evaluation"
CHEAP = ("raw", "random_init", "pca_32", "kmeans_32", "kmeans_64")  # seconds each; ica_32 and nmf_32 on request
QUICK_RULES = ("hebb", "hebb_decorrelation", "oja", "soft_competition")  # of the hand-written ones, `--against quick`
NOTE = "Supervised rules (backprop, feedback_alignment) learn from the labelled examples of each split alone."


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of this process.
        prog: what the program is called in its messages.

    Returns:
        Exit status: 0; 1 if a rule asked for could not be evaluated; 2 for bad arguments and files; 130 when stopped
        by hand, after which the rows that were done are shown and, with --json, kept.
    """
    try:
        arguments = own_modules.import_modules(argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    try:
        if options.rank:
            with about("--rank"):
                print_whole(rank_table([Results.read_json(path) for path in options.rank]))
            return 0
        dataset = read_data(options.data, options.data_option)
        if len(dataset.y.unique()) < 2:
            what = "without labels" if dataset.n_classes == 1 else "with examples of one class"
            raise ValueError(f"--data is {options.data!r}, {what}; allowed: two classes or more")
        protocol = _protocol(options, dataset)
        rules = _rules(options, dataset)
        baselines = _baselines(options, rules)
        targets = {name: getattr(options, name) for name in ("json", "csv", "markdown") if getattr(options, name)}
        vars(options).update({name: check_target(f"--{name}", path) for name, path in targets.items()})
        if len({path.resolve() for path in targets.values()}) < len(targets):
            raise ValueError(f"{' and '.join(f'--{name}' for name in targets)} name one file; allowed: one for each")
    except (ValueError, TypeError, OSError) as error:
        parser.error(str(error))
    jobs: dict[str, Callable[[], Result]] = {
        label: partial(evaluate_rule, rule, label, dataset, protocol, steps=steps)
        for label, (rule, steps) in rules.items()
    }
    for name in baselines:
        jobs[name] = partial(evaluate_baseline, name, dataset, protocol)
    settings, status = _settings(options, dataset, protocol, rules), 0
    results = Results((), settings)
    done = _begun(options.json, results)
    try:
        with one_thread():
            for results in _run(jobs, settings, done):
                _write(results, options)  # after every row, and before the table, which may find no reader
    except KeyboardInterrupt:
        print(f"stopped after {len(results.results)} of {len(jobs)} rows", file=sys.stderr)
        status = 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    _report(results, options.rule)
    return status or int(any(rule_label(name) in results.skipped for name in options.rule))


def build_parser(prog: str = PROGRAM) -> Parser:
    """The options, with their help."""
    parser = Parser(
        prog=prog, description="Learn a representation without labels, then read it with a few labels per class."
    )
    add = parser.add_argument
    rules = f"a name ({', '.join(rule_names())}) or the path of a .safetensors file; may be repeated"
    add("--rule", action="append", default=[], metavar="NAME", help=rules)
    add_options(parser)
    add("--steps", type=int, metavar="T", help="inner steps of the rules named by --rule (default: as each recommends)")
    labels = "what the read-out is fitted to (default: %(default)s)"
    add("--labels-per-class", type=int, default=LABELS_PER_CLASS, metavar="K", help=labels)
    add("--splits", type=int, default=N_SPLITS, metavar="N", help="draws of labelled examples (default: %(default)s)")
    add("--seeds", type=int, default=Protocol.n_models, metavar="N", help="base models (default: %(default)s)")
    add("--seed", type=int, default=Protocol.seed, metavar="S", help="where all chance starts (default: %(default)s)")
    group = parser.add_mutually_exclusive_group()
    known = ", ".join([*BASELINES, *sorted(CLASSIC_RULES)])
    baselines_help = f"what to compare with, out of {known} (default: all but ica_32 and nmf_32)"
    cheap = [*CHEAP, *sorted(CLASSIC_RULES)]
    group.add_argument("--baselines", nargs="+", default=cheap, metavar="NAME", help=baselines_help)
    against_help = "compare with what takes seconds (quick), or with every rival and hand-written rule (all)"
    group.add_argument("--against", dest="baselines", action=_Against, choices=("quick", "all"), help=against_help)
    group.add_argument("--no-baselines", dest="baselines", action="store_const", const=[], help="the rules alone")
    json_help = "write rows, settings and versions there, after every row; a command that was stopped goes on from it"
    add("--json", type=Path, metavar="FILE", help=json_help)
    add("--csv", type=Path, metavar="FILE", help="write the table there as CSV, after every row")
    rank_help = "evaluate nothing: mean ranks over the data sets that these files of --json are of, one each"
    add("--rank", nargs="+", type=Path, metavar="FILE", help=rank_help)
    add("--markdown", type=Path, metavar="FILE", help="write the table and the paired differences there as Markdown")
    return parser


def add_options(parser: Parser) -> None:
    """What `read_data` and `read_net` are given, and `--import`."""
    add = parser.add_argument
    add(own_modules.OPTION, metavar="MODULE", help=own_modules.HELP)
    data_help = f"one of {', '.join(DATASETS)}, or your own .csv, .npy, .npz or folder of images (default: %(default)s)"
    add("--data", default="digits", metavar="NAME", help=data_help)
    option_help = "option of the data set, such as split=validation for glyphs, label=2 for a table; may be repeated"
    add("--data-option", action="append", default=[], metavar="KEY=VALUE", help=option_help)
    net_help = "sizes of the base model, inputs first (default: inputs of the data-32-32-32)"
    add("--net", metavar="N0-N1-..", help=net_help)


def read_data(name: str, options: Sequence[str]) -> Dataset:
    """The data set that `--data` and `--data-option` ask for.

    Args:
        name: of a data set, or the path of a file or folder.
        options: as KEY=VALUE.

    Raises:
        ValueError, TypeError, OSError: no such data set or file, an option it does not have.
    """
    file = name not in DATASETS and (name.endswith((".csv", ".npy", ".npz")) or Path(name).exists())
    if name not in DATASETS and not file:
        near = nearest(name, DATASETS)
        raise ValueError(f"--data is {name!r}; allowed: {', '.join(DATASETS)}, or a .csv, .npy or .npz file{near}")
    values: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"--data-option is {option!r}; allowed: KEY=VALUE")
        try:
            given = json.loads(value)
        except json.JSONDecodeError:
            given = value
        values[key] = tuple(given) if isinstance(given, list) else given
    if file:
        check_names("--data-option", values, [k for k in inspect.signature(read_dataset).parameters if k != "path"])
        with about("--data"):
            found = read_dataset(name, **values)
    else:
        found = load_dataset(name, **values)
    check_kind(f"what data set {name!r} returned", found, Dataset)
    name = found.name if file else name  # no paths in results
    return replace(found, name=f"{name}({', '.join(options)})" if options else name)


def read_net(net: str | None, dataset: Dataset) -> tuple[int, ...]:
    """The sizes (n_0, .., n_L) that `--net` asks for; None takes the data's inputs and the protocol's layers.

    Raises:
        ValueError: no sizes, or sizes that do not fit the data.
    """
    n_0 = dataset.x.shape[1]
    try:
        first, second, *rest = (n_0, *Protocol.hidden) if net is None else map(int, net.split("-"))
    except ValueError:
        raise ValueError(f"--net is {net!r}; allowed: two or more sizes such as 64-32-32-32") from None
    if first != n_0:
        raise ValueError(f"--net is {net!r}; allowed: sizes that begin with {n_0} for this data")
    return check_widths("--net", (first, second, *rest))


def _protocol(options: argparse.Namespace, dataset: Dataset) -> Protocol:
    hidden = read_net(options.net, dataset)[1:]
    rarest = int(dataset.y.unique(return_counts=True)[1].min())  # one example of each class is left to ask for
    check_number("--labels-per-class", options.labels_per_class, low=1, high=rarest - 1, integer=True)
    check_number("--splits", options.splits, low=2, integer=True)  # one alone has no standard error
    check_number("--seeds", options.seeds, low=1, integer=True)
    check_number("--seed", options.seed, low=0, high=2**31, integer=True)
    return Protocol(hidden, options.labels_per_class, options.splits, options.seeds, options.seed)


def _rules(options: argparse.Namespace, dataset: Dataset) -> dict[str, tuple[UpdateRule, int | None]]:
    """label -> (rule, inner steps or None), those of --rule first, then the hand-written ones to compare with."""
    if options.steps is not None:
        check_number("--steps", options.steps, low=0, integer=True)
    rules: dict[str, tuple[UpdateRule, int | None]] = {}
    for name in options.rule:
        if rule_label(name) in rules:
            raise ValueError(f"--rule names {rule_label(name)!r} twice; allowed: each name, or file name, once")
        with about(f"--rule {name}"):
            rules[rule_label(name)] = get_rule(name, n_classes=dataset.n_classes), options.steps
    for name in options.baselines:
        if name in CLASSIC_RULES and name not in rules:
            rules[name] = get_rule(name, n_classes=dataset.n_classes), None
    return rules


def _baselines(options: argparse.Namespace, rules: dict[str, Any]) -> list[str]:
    """The baselines that are no rules, each once."""
    for name in options.baselines:
        if name not in BASELINES and name not in CLASSIC_RULES:
            allowed = ", ".join([*BASELINES, *sorted(CLASSIC_RULES)])
            near = nearest(name, [*BASELINES, *CLASSIC_RULES])
            raise ValueError(f"--baselines names {name!r}; allowed: {allowed}{near}")
    names = [name for name in dict.fromkeys(options.baselines) if name in BASELINES]
    if not names and not rules:
        raise ValueError(f"--no-baselines leaves nothing to do without --rule; allowed: {', '.join(rule_names())}")
    return names


class _Against(argparse.Action):
    """`--against quick` and `--against all` as lists of names, read when asked, so that `--import` comes first."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: Any = None) -> None:
        whole = value == "all"
        names = [name for name, baseline in BASELINES.items() if whole or baseline.quick]
        classic = [name for name in sorted(CLASSIC_RULES) if whole or name in QUICK_RULES]
        setattr(namespace, self.dest, [*names, *classic])


def _begun(path: Path | None, fresh: Results) -> dict[str, Result]:
    """The rows that the same command, stopped before its end, has left in its JSON file."""
    if path is None or not path.exists():
        return {}
    try:
        found = Results.read_json(path)
    except ValueError:
        return {}  # another file, which is replaced as ever
    same = {name: value for name, value in found.settings.items() if name != "seconds"}
    if NOT_YET not in found.skipped.values() or same != json.loads(json.dumps(fresh.settings)):
        return {}
    return {result.row.representation: result for result in found.results if found.versions == fresh.versions}


def _write(results: Results, options: argparse.Namespace) -> None:
    if options.json:
        results.write_json(options.json)
    if options.csv and results.results:
        write_atomically(options.csv, results.csv().encode())
    if options.markdown and results.results:
        names = {row.representation for row in results.rows}
        pairs = [results.comparison(n) for n in map(rule_label, options.rule) if n in names and len(names) > 1]
        parts = [results.markdown(), *(f"```text\n{text}\n```" for text in pairs)]
        write_atomically(options.markdown, ("\n\n".join(parts) + "\n").encode())


def _run(
    jobs: Mapping[str, Callable[[], Result]], settings: Mapping[str, Any], done: Mapping[str, Result]
) -> Iterator[Results]:
    """The results so far, after every row; skipped is what this data does not allow, and what has yet to be done."""
    start, found, skipped = time.monotonic(), [], {}
    waiting = dict.fromkeys(jobs, NOT_YET)
    for i, (name, job) in enumerate(jobs.items(), start=1):
        how_far = " (on file)" if name in done else time_left(start, i - 1, len(jobs))
        print(f"[{i}/{len(jobs)}] {name}{how_far}", file=sys.stderr, flush=True)
        del waiting[name]
        try:
            found.append(done[name] if name in done else job())
        except (DivergenceError, SingularError, UnsuitableError) as error:
            skipped[name] = str(error)
        seconds = {"seconds": round(time.monotonic() - start, 1)}
        yield Results(tuple(found), {**settings, **seconds}, {**skipped, **waiting})


def _settings(
    options: argparse.Namespace,
    dataset: Dataset,
    protocol: Protocol,
    rules: dict[str, tuple[UpdateRule, int | None]],
) -> dict[str, Any]:
    """What was run, as plain values; no paths."""
    n_labelled = protocol.labels_per_class * dataset.n_classes
    inner = {
        label: asdict(inner_settings(rule, n_labelled if rule.needs_labels else len(dataset), steps))
        for label, (rule, steps) in rules.items()
    }
    return {
        "data": dataset.name,
        "examples": len(dataset),
        "net": [dataset.x.shape[1], *protocol.hidden],
        "labels_per_class": protocol.labels_per_class,
        "splits": protocol.n_splits,
        "seeds": protocol.n_models,
        "seed": protocol.seed,
        "inner": inner,
        "rules": {label: rule_mark(rule) for label, (rule, _) in rules.items()},
    }


def _report(results: Results, asked: Sequence[str]) -> None:
    names = [row.representation for row in results.rows]
    parts = [results.table()] if names else []
    parts += [results.comparison(label) for label in map(rule_label, asked) if label in names and len(names) > 1]
    if any(name in ("backprop", "feedback_alignment") for name in names):
        parts.append(NOTE)
    parts += [f"{name}: {b.meaning}." for name, b in BASELINES.items() if name in names and b.uses_labels]
    if parts:
        print_whole("\n\n".join(parts))
    for name, reason in results.skipped.items():
        print(f"\nskipped {name}: {reason}", file=sys.stderr)


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices are fastest on one thread, and give the same numbers wherever there are more cores; a number in
    OMP_NUM_THREADS decides."""
    for part in ("cluster", "decomposition", "linear_model", "manifold", "semi_supervised"):
        import_module(f"sklearn.{part}")  # a limit holds for libraries that are loaded when it is set
    threads = told_threads() or 1
    with few_threads(threads=threads), threadpool_limits(threads):
        yield
