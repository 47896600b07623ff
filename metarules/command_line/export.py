"""`metarules export FILE`: what a rule learns from a data set, as a file whose suffix says what is written."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from metarules._checks import check_number
from metarules._files import check_target, csv_text, write_atomically
from metarules._threads import few_threads
from metarules._words import Parser, nearest
from metarules.base_model import BaseModelState, forward, freeze
from metarules.evaluation.cli import add_options, read_data, read_net
from metarules.inner_loop import DivergenceError, Trajectory, start
from metarules.pretrained import own_modules
from metarules.pretrained.finding import get_rule, rule_names
from metarules.studies.planes import project
from metarules.studies.recording import record
from metarules.studies.trajectory import DOTS, fixed_sample, recording_steps
from metarules.tasks import Task, make_task

KINDS = {
    ".csv": "features of every example, and its class",
    ".npz": "arrays: features, y, and W1, b1, W2 .. of the taught network with batch norm folded in",
    ".gif": "a film of the examples in a plane of the features while the rule learns",
    ".png, .svg, .pdf": "that plane after the last step",
}
SUFFIXES = ", ".join(KINDS).split(", ")


def main(argv: Sequence[str], prog: str = "metarules export") -> int:
    """Let a rule learn and write the file.

    Args:
        argv: words after `export`.
        prog: what the command is called in its messages.

    Returns:
        Exit status: 0; 1 if the rule diverged or the file cannot be written; 2 for bad arguments and files.
    """
    try:
        words = own_modules.import_modules(argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parser = build_parser(prog)
    options = parser.parse_args(words)
    try:
        suffix = _suffix(options.file)
        check_number("--seed", options.seed, low=0, high=2**31, integer=True)
        dataset = read_data(options.data, options.data_option)
        sizes = read_net(options.net, dataset)
        rule, task = get_rule(options.rule, n_classes=dataset.n_classes), make_task(dataset, permute=False)
        begun = start(rule, task, sizes=sizes, steps=options.steps, seed=options.seed)
        steps = check_number("--steps", begun.settings.steps, low=1, integer=True)
    except (ValueError, TypeError, OSError) as error:
        parser.error(str(error))
    at = recording_steps(steps) if suffix == ".gif" else (0, steps)
    try:
        bar = tqdm(total=len(at), desc=f"{options.rule}, {steps} steps", unit="frame", leave=False)
        with few_threads(), bar:
            run = record(rule, task, begun, at, progress=lambda done, _: bar.update(done - bar.n))
        content = (
            numbers(suffix, run.state, task, dataset.class_names)
            if suffix in (".csv", ".npz")
            else picture(options.file, run, task, dataset.class_names, rule.needs_labels)
        )
        if content is not None:
            write_atomically(options.file, content)
    except (DivergenceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.file}")
    return 0


def build_parser(prog: str) -> Parser:
    """The options, with their help."""
    kinds = "; ".join(f"{suffix}: {what}" for suffix, what in KINDS.items())
    parser = Parser(
        prog=prog, description="Let a rule learn from a data set without labels, and write what it learned to a file."
    )
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help=f"the file to write; its suffix says what: {kinds}")
    rules = f"a name ({', '.join(rule_names())}) or the path of a .safetensors file (default: %(default)s)"
    add("--rule", default="local", metavar="NAME", help=rules)
    add_options(parser)
    add("--steps", type=int, metavar="T", help="inner steps (default: as the rule recommends)")
    add("--seed", type=int, default=0, metavar="S", help="where all chance starts (default: %(default)s)")
    return parser


def _suffix(path: Path) -> str:
    """What is asked for; refused before the work, not after it, if it cannot be written."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        near = nearest(suffix, SUFFIXES)
        raise ValueError(f"FILE is {path.name!r}; allowed: a name ending in {', '.join(SUFFIXES)}{near}")
    check_target("FILE", path)
    return suffix


def numbers(suffix: str, phi: BaseModelState, task: Task, class_names: Sequence[str]) -> bytes:
    """Bytes of the .csv or .npz file."""
    model = freeze(phi, task.x)
    features, y = model(task.x).numpy(), task.y.numpy()
    if suffix == ".csv":
        rows = [
            {**{f"x{i}": f"{value:.6g}" for i, value in enumerate(row, start=1)}, "class": class_names[c]}
            for row, c in zip(features, y, strict=True)
        ]
        return csv_text(rows).encode()
    arrays: dict[str, Any] = {"features": features, "y": y, "class_names": np.array(class_names)}
    for l, (W, b) in enumerate(zip(model.weights, model.biases, strict=True), start=1):
        arrays |= {f"W{l}": W.numpy(), f"b{l}": b.numpy()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def picture(
    path: Path, run: Trajectory, task: Task, class_names: Sequence[str], sees_labels: bool = False
) -> bytes | None:
    """Bytes of the picture; None for a film, which is written here."""
    from matplotlib import rc_context

    from metarules.plots import EmbeddingFilm
    from metarules.plots.gif import save_gif
    from metarules.plots.style import figure_to_png

    dots = fixed_sample(task.n_examples, DOTS)
    points = project(torch.stack([forward(phi, task.x).features for phi in run.states]).numpy())[:, dots]
    y, noun = task.y.numpy()[dots], "image" if task.shape else "example"
    several = len(class_names) > 1
    film = EmbeddingFilm(
        points, y, run.steps, class_names=class_names, noun=noun, coloured=several, sees_labels=sees_labels
    )
    suffix = path.suffix.lower()
    if suffix == ".gif":
        save_gif(film, path)
        return None
    figure = film.figure_at(film.frames - 1)
    if suffix == ".png":
        return figure_to_png(figure)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "metarules"}):  # the same picture gives the same bytes
        dates = {"Date" if suffix == ".svg" else "CreationDate": None}
        figure.savefig(buffer, format=suffix[1:], metadata=dates)
    return buffer.getvalue()
