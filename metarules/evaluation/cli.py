"""The command line: put rules and baselines through the few-shot protocol, print one table, write it as JSON.

python -m metarules.evaluation --rule local --data digits --json results.json
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from metarules._checks import check_names, check_number
from metarules._files import print_whole
from metarules.classic_rules import CLASSIC_RULES
from metarules.evaluation.baselines import BASELINES, UnsuitableError
from metarules.evaluation.probe import LABELS_PER_CLASS, N_SPLITS
from metarules.evaluation.protocol import Protocol, evaluate_baseline, evaluate_rule
from metarules.evaluation.results import Result, Results
from metarules.inner_loop import DivergenceError, inner_settings
from metarules.meta_objective import SingularError
from metarules.pretrained import own_modules
from metarules.pretrained.finding import get_rule, rule_label, rule_names
from metarules.tasks import DATASETS, Dataset, load_dataset, read_dataset
from metarules.update_rule import UpdateRule

CHEAP = ("raw", "random_init", "pca_32", "kmeans_32", "kmeans_64")  # seconds each; ica_32 and nmf_32 on request
NOTE = "Supervised rules (backprop, feedback_alignment) learn from the labelled examples of each split alone."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of this process.

    Returns:
        Exit status: 0; 1 if a rule asked for could not be evaluated; 2 for bad arguments and files; 130 when stopped
        by hand, after which the rows that were done are shown and, with --json, kept.
    """
    try:
        arguments = own_modules.import_modules(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        dataset = _dataset(options.data, options.data_option)
        protocol = _protocol(options, dataset)
        rules = _rules(options, dataset)
        baselines = _baselines(options, rules)
        _check_target(options.json)
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
    try:
        with _one_thread():
            for results in _run(jobs, settings):
                if options.json:
                    results.write_json(options.json)  # after every row, and before the table, which may find no reader
    except KeyboardInterrupt:
        print(f"stopped after {len(results.results)} of {len(jobs)} rows", file=sys.stderr)
        status = 130
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    _report(results, options.rule)
    return status or int(any(rule_label(name) in results.skipped for name in options.rule))


def build_parser() -> argparse.ArgumentParser:
    """The options, with their help."""
    parser = argparse.ArgumentParser(
        prog="python -m metarules.evaluation",
        description="Learn a representation without labels, then read it with a few labels per class.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    rules = f"a name ({', '.join(rule_names())}) or the path of a .safetensors file; may be repeated"
    add(own_modules.OPTION, metavar="MODULE", help=own_modules.HELP)
    add("--rule", action="append", default=[], metavar="NAME", help=rules)
    data_help = f"one of {', '.join(DATASETS)}, or your own .csv, .npy, .npz or folder of images (default: digits)"
    add("--data", default="digits", metavar="NAME", help=data_help)
    option_help = "option of the data set, such as split=validation for glyphs, label=2 for a table; may be repeated"
    add("--data-option", action="append", default=[], metavar="KEY=VALUE", help=option_help)
    add(
        "--net", metavar="N0-N1-..", help="sizes of the base model, inputs first (default: inputs of the data-32-32-32)"
    )
    add("--steps", type=int, metavar="T", help="inner steps of the rules named by --rule (default: as each recommends)")
    add("--labels-per-class", type=int, default=LABELS_PER_CLASS, metavar="K", help="default: %(default)s")
    add("--splits", type=int, default=N_SPLITS, metavar="N", help="draws of labelled examples (default: %(default)s)")
    add("--seeds", type=int, default=Protocol.n_models, metavar="N", help="base models (default: %(default)s)")
    add("--seed", type=int, default=Protocol.seed, metavar="S", help="where all chance starts (default: %(default)s)")
    group = parser.add_mutually_exclusive_group()
    known = ", ".join([*BASELINES, *sorted(CLASSIC_RULES)])
    baselines_help = f"what to compare with, out of {known} (default: all but ica_32 and nmf_32)"
    cheap = [*CHEAP, *sorted(CLASSIC_RULES)]
    group.add_argument("--baselines", nargs="+", default=cheap, metavar="NAME", help=baselines_help)
    group.add_argument("--no-baselines", dest="baselines", action="store_const", const=[], help="the rules alone")
    add("--json", type=Path, metavar="FILE", help="write the rows, settings and versions there, after every row")
    return parser


def _dataset(name: str, options: Sequence[str]) -> Dataset:
    file = name not in DATASETS and (name.endswith((".csv", ".npy", ".npz")) or Path(name).exists())
    if name not in DATASETS and not file:
        raise ValueError(f"--data is {name!r}; allowed: {', '.join(DATASETS)}, or a .csv, .npy or .npz file")
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
        found = read_dataset(name, **values)
    else:
        found = load_dataset(name, **values)
    if not isinstance(found, Dataset):
        raise TypeError(f"data set {name!r} is a {type(found).__name__}; allowed: a function that returns a Dataset")
    if len(found.y.unique()) < 2:
        raise ValueError(f"--data is {name!r}, with examples of one class; allowed: two classes or more")
    name = found.name if file else name  # no paths in results
    return replace(found, name=f"{name}({', '.join(options)})" if options else name)


def _protocol(options: argparse.Namespace, dataset: Dataset) -> Protocol:
    hidden = Protocol.hidden
    if options.net is not None:
        try:
            first, second, *rest = map(int, options.net.split("-"))
        except ValueError:
            raise ValueError(f"--net is {options.net!r}; allowed: two or more sizes such as 64-32-32-32") from None
        if first != dataset.x.shape[1]:
            raise ValueError(
                f"--net is {options.net!r}; allowed: sizes that begin with {dataset.x.shape[1]} for this data"
            )
        hidden = (second, *rest)
    for size in hidden:
        check_number("--net", size, low=1, integer=True)
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
        try:
            rules[rule_label(name)] = get_rule(name, n_classes=dataset.n_classes), options.steps
        except (ValueError, OSError) as error:
            raise ValueError(f"--rule {name}: {error}") from error
    for name in options.baselines:
        if name in CLASSIC_RULES and name not in rules:
            rules[name] = get_rule(name, n_classes=dataset.n_classes), None
    return rules


def _baselines(options: argparse.Namespace, rules: dict[str, Any]) -> list[str]:
    """The baselines that are no rules, each once."""
    for name in options.baselines:
        if name not in BASELINES and name not in CLASSIC_RULES:
            allowed = ", ".join([*BASELINES, *sorted(CLASSIC_RULES)])
            raise ValueError(f"--baselines names {name!r}; allowed: {allowed}")
    names = [name for name in dict.fromkeys(options.baselines) if name in BASELINES]
    if not names and not rules:
        raise ValueError(f"--no-baselines leaves nothing to do without --rule; allowed: {', '.join(rule_names())}")
    return names


def _check_target(path: Path | None) -> None:
    """Find out before the work, not after it, that the JSON file cannot be written."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"--json is {str(path)!r}; allowed: a file in a folder that can be written to")


def _run(jobs: Mapping[str, Callable[[], Result]], settings: Mapping[str, Any]) -> Iterator[Results]:
    """The results so far, after every row; skipped is what this data does not allow, and what has yet to be done."""
    start, found, skipped = time.perf_counter(), [], {}
    waiting = dict.fromkeys(jobs, "not evaluated yet")
    for i, (name, job) in enumerate(jobs.items(), start=1):
        print(f"[{i}/{len(jobs)}] {name}", file=sys.stderr, flush=True)
        del waiting[name]
        try:
            found.append(job())
        except (DivergenceError, SingularError, UnsuitableError) as error:
            skipped[name] = str(error)
        seconds = {"seconds": round(time.perf_counter() - start, 1)}
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
    }


def _report(results: Results, asked: Sequence[str]) -> None:
    names = [row.representation for row in results.rows]
    parts = [results.table()] if names else []
    parts += [results.comparison(label) for label in map(rule_label, asked) if label in names and len(names) > 1]
    if any(name in ("backprop", "feedback_alignment") for name in names):
        parts.append(NOTE)
    if parts:
        print_whole("\n\n".join(parts))
    for name, reason in results.skipped.items():
        print(f"\nskipped {name}: {reason}", file=sys.stderr)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small matrices are fastest on one thread, and give the same numbers wherever there are more cores."""
    for part in ("cluster", "decomposition", "linear_model"):
        import_module(f"sklearn.{part}")  # a limit holds for libraries that are loaded when it is set
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
