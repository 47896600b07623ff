"""What the fuzz test calls things with: what each needs, what keeps it short, and values that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import metarules
from metarules import (
    evaluation,
    get_rule,
    init_state,
    load_dataset,
    load_rule,
    make_task,
    meta_objective,
    studies,
    tasks,
    widgets,
)
from metarules.tasks import Dataset, Task
from metarules.update_rule import LocalRule, LocalRuleSettings
from tests.meta_small import DISTRIBUTION, PLAN, RULE, SETTINGS

ALSO = {  # what else an error may speak of: a part of an argument, or what the command line calls it
    "inner_loop.unroll": ("batch", "x"),
    "plots.save_gif": ("frame",),
    "meta_training.MetaTrainer": ("batch_size",),  # of its settings
    "meta_training.run": ("settings",),
    "meta_training.preset": ("preset",),
    "pretrained.get_rule": ("rule",),
    "evaluation.evaluate_rule": ("labels",),
    "evaluation.evaluate_baseline": ("labels",),
    "evaluation.evaluate_features": ("labels",),
    "evaluation.Judge": ("batch_size",),  # of its settings
    "widgets.RuleTimeline": ("task",),
    "studies.Timeline": ("task",),
    "plots.embedding_figure": ("points",),
}


def data(labels: bool = True) -> Dataset:
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    return Dataset("small", x, torch.arange(60) % (3 if labels else 1), (2, 3), ("a", "b", "c") if labels else ("a",))


def task() -> Task:
    return make_task(data(), permute=False)


def x(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def arrays(*shape: int) -> np.ndarray:
    return x(*shape).numpy()


def small_splits() -> Any:
    from metarules.evaluation import probe_splits

    return probe_splits(data().y, 2, 3)


def film() -> Any:
    from metarules.plots import FilterFilm

    return FilterFilm(arrays(2, 4, 2, 3), [0, 1])


def explorer() -> Any:
    from metarules.widgets import InnerLoopExplorer

    return InnerLoopExplorer("hebb", task(), sizes=(6, 4, 3), steps=2)


def snapshots() -> Any:
    return studies.evolution.evolution(metarules.shipped_run("local"))


def two_snapshots() -> Any:
    return replace(whole := snapshots(), rules=whole.rules[-2:], meta_steps=whole.meta_steps[-2:])


def figure() -> Any:
    from matplotlib.figure import Figure

    return Figure()


def phi(dtype: torch.dtype = torch.float32) -> Any:
    return init_state((6, 4, 3), dtype=dtype)


def rule() -> Any:
    return get_rule("hebb")


def digits() -> Task:
    return make_task(load_dataset("digits"), permute=False)


def new(name: str) -> Callable[[], Path]:
    """A file in the folder that the test works in."""
    return lambda: Path(name)


STEP = {"rule": lambda: load_rule("local"), "trace": lambda: load_rule("local").trace(phi(), x(8, 6))}
FRAMES = {"steps": lambda: [0, 1], "accuracies": lambda: arrays(2, 2), "labels": lambda: np.arange(5) % 3}
ALIGNMENT = {
    "cosines": lambda: arrays(2, 2),
    "W": lambda: arrays(2, 4, 3),
    "V": lambda: arrays(2, 4, 3),
    "layer": lambda: 1,
}
PLOTS = {"filters": lambda: arrays(2, 4, 2, 3), "features": lambda: arrays(2, 5, 3), "points": lambda: arrays(2, 5, 2)}
BATCHES = {
    "features_a": lambda: x(9, 4),
    "features_b": lambda: x(9, 4),
    "targets_a": lambda: x(9, 2),
    "targets_b": lambda: x(9, 2),
}
PROBED = {
    "features": lambda: x(60, 4),
    "labels": lambda: data().y,
    "splits": small_splits,
    "labels_per_class": lambda: 2,
}
DIRECTION = {"phi": phi, "activations": lambda: metarules.forward(phi(), x(8, 6)), "delta_top": lambda: x(8, 3)}
NET = {"sizes": lambda: (6, 4, 3), "steps": lambda: 2, "rule": rule, "task": task, "generator": torch.Generator}
FOR_DATA = {"n": lambda: 40, "n_classes": lambda: 3, "generator": torch.Generator}

# What a call needs, and what keeps it short: for a callable, for a room, for all.
GOOD: dict[str, dict[str, Callable[[], Any]]] = {
    "": {**NET, "x": lambda: x(8, 6), "phi": phi, "state": phi, "dataset": data, "name": lambda: "hebb"},
    "tasks": FOR_DATA,
    "plots": {**FRAMES, **PLOTS},
    "evaluation": {**PROBED, "protocol": lambda: evaluation.Protocol((4, 3), 2, 2, 2), "hidden": lambda: (4, 3)},
    "get_nonlinearity": {"name": lambda: "relu"},
    "BaseModelState": {"layers": lambda: phi().layers},
    "contributions": {**STEP, "layer": lambda: 1},
    "named_inputs": {**STEP, "layer": lambda: 1},
    "FunctionRule": {"function": lambda: lambda phi, batch: phi},
    "backprop_gradient": DIRECTION,
    "deltas_down": DIRECTION,
    "batch_norm_backward": {"error": lambda: x(8, 3), "normalised": lambda: x(8, 3), "std": lambda: x(1, 3)},
    "cross_entropy_error": {"logits": lambda: x(8, 3), "y": lambda: torch.arange(8) % 3},
    "register": {"name": lambda: "fuzzed"},
    "register_kind": {"name": lambda: "local", "rule": lambda: LocalRule, "settings": lambda: LocalRuleSettings},
    "register_family": {"name": lambda: "fuzzed"},
    "from_plain": {
        "name": lambda: "name",
        "settings_type": lambda: tasks.GlyphSettings,
        "values": lambda: {"shift": 0.1},
    },
    "plain": {"value": lambda: {"a": (1, 2.0)}},
    "shipped_run": {"name": lambda: "local"},
    "load_rule": {"name_or_path": lambda: "local"},
    "save_rule": {"rule": lambda: load_rule("local"), "path": new("rule.safetensors")},
    "read_tf_checkpoint": {"prefix": lambda: Path(__file__).parent / "reference" / "tf_graph_data.ckpt"},
    "one_hot": {"labels": lambda: torch.arange(6) % 3, "n_classes": lambda: 3},
    "ridge_fit": {"features": lambda: x(9, 4), "targets": lambda: x(9, 2)},
    "ridge_cosine_loss": BATCHES,
    "ridge_cosine_score": BATCHES,
    "score_prepared": {**BATCHES, "settings": meta_objective.MetaObjectiveSettings},
    "score_in_turn": {"features": lambda: x(12, 4), "targets": lambda: x(12, 2), "k": lambda: 2},
    "prepared_features": {"features": lambda: x(9, 4), "settings": meta_objective.MetaObjectiveSettings},
    "load_dataset": {"name": lambda: "digits"},
    "Dataset": {k: (lambda v=v: v) for k, v in vars(data()).items()},
    "Task": {"x": lambda: data().x, "y": lambda: data().y, "n_classes": lambda: 3},
    "check_input": {"name": lambda: "x"},
    "TaskForm": {"n_inputs": lambda: 6, "n_classes": lambda: 3, "n_examples": lambda: 60},
    "random_decoder": {"dimension": lambda: 6},
    "draw_dataset": {"settings": lambda: DISTRIBUTION, "split": lambda: "train"},
    "draw_tasks": {"settings": lambda: DISTRIBUTION, "form": lambda: None, "n": lambda: 2},
    "validation_tasks": {"settings": lambda: DISTRIBUTION, "n": lambda: 2, "kind": lambda: "glyphs"},
    "draw_form": {"settings": lambda: DISTRIBUTION},
    "render_glyphs": {"characters": lambda: "abc", "fonts": lambda: tasks.TRAIN_FONTS[:2], "size": lambda: 8},
    "draw_characters": {"n": lambda: 3},
    "glyph_split": {"name": lambda: "train"},
    "handwriting_split": {"name": lambda: "train"},
    "stack_tasks": {"tasks": lambda: [task(), task()]},
    "read_dataset": {"path": lambda: Path("flowers.csv")},
    "read_bytes": {"name": lambda: "flowers.csv", "data": lambda: FLOWERS},
    "read_files": {"files": lambda: {"flowers.csv": FLOWERS}},
    "some_examples": {"most": lambda: 10},
    "unroll": {"batches": lambda: [x(8, 6)]},
    "learn": {"batch_size": lambda: 8},
    "batches": {"batch_size": lambda: 8},
    "check_finite": {"before": phi, "step": lambda: 1},
    "DivergenceError": {"step": lambda: 1, "tensor": lambda: "W1", "last_good": phi},
    "inner_settings": {"n_examples": lambda: 60},
    "baseline_features": {"x": lambda: data().x, "name": lambda: "raw"},
    "evaluate_baseline": {"name": lambda: "raw"},
    "evaluate_features": {"features": lambda: x(1, 60, 4)},
    "likeness": {"W": lambda: x(6, 4)},
    "mean_likeness": {"W": lambda: x(6, 4)},
    "mean_of_pairs": {"pairs": lambda: x(4, 4)},
    "class_accuracy": {"guesses": lambda: data().y[small_splits().rest]},
    "make_result": {
        "data": lambda: "d",
        "representation": lambda: "r",
        "dim": lambda: 3,
        "accuracies": lambda: x(2, 3),
    },
    "mean_and_stderr": {"accuracies": lambda: x(2, 3)},
    "paired_difference": {"a": lambda: x(2, 3), "b": lambda: x(2, 3)},
    "Leaderboard": {"path": new("board.json")},
    "Judge": {"distribution": lambda: DISTRIBUTION, "settings": lambda: PLAN.judge},
    "validate": {"widths": lambda: (4, 3), "batch_size": lambda: 8, "labels_per_class": lambda: 2},
    "preset": {"name": lambda: "demo"},
    "MetaTrainer": {
        "rule": lambda: load_rule("local"),
        "settings": lambda: SETTINGS,
        "distribution": lambda: DISTRIBUTION,
    },
    "Plan": {"rule": lambda: RULE},
    "run": {"out": new("run"), "plan": lambda: PLAN},
    "meta_train": {"rule": lambda: load_rule("local"), "meta_steps": lambda: 1},
    "angle_between": {"one": lambda: x(4), "other": lambda: x(4)},
    "backward_rule": {"way": lambda: "identical", "base": lambda: load_rule("local")},
    "follow_backward_weights": {"rule": lambda: load_rule("local")},
    "classical_fit": {"rules": lambda: [load_rule("local")], "steps": lambda: (0, 1)},
    "compare_snapshots": {"evolution": two_snapshots, "widths": lambda: (4, 3), "labels_per_class": lambda: 2},
    "Timeline": {"evolution": snapshots, "digits": digits},
    "RuleTimeline": {"evolution": snapshots, "digits": digits},
    "examples_figure": {"n": lambda: 2},
    "run_mix": {"mix": studies.Mix, "learned": lambda: load_rule("local")},
    "teach_moons": {"frames": lambda: 2, "hidden": lambda: (4, 3)},
    "neuron_view": {"rule": lambda: load_rule("local"), "layer": lambda: 1, "unit": lambda: 0},
    "explore_objective": {"clouds": lambda: studies.make_clouds("Three clouds"), "steps": lambda: 2},
    "make_clouds": {"name": lambda: "Three clouds"},
    "scene_of": {"descent": lambda: studies.explore_objective(studies.make_clouds("Three clouds")), "move": lambda: 1},
    "nearest_alike": {"x": lambda: arrays(5, 3), "labels": lambda: np.arange(5) % 2},
    "plane": {"features": lambda: arrays(2, 5, 3)},
    "project": {"features": lambda: arrays(2, 5, 3)},
    "compare_rules": {"rules": lambda: {"one": load_rule("local"), "two": load_rule("local")}},
    "prepare": {"rule": lambda: load_rule("local")},
    "Follower": {"e": lambda: studies.explore(rule(), task(), sizes=(6, 4, 3), steps=2)},
    "AccuracyFilm": {"baselines": lambda: {"raw": 0.5}},
    "AlignmentFilm": ALIGNMENT,
    "alignment_figure": ALIGNMENT,
    "mosaic": {"filters": lambda: arrays(4, 2, 3)},
    "save_gif": {"film": film, "path": new("film.gif")},
    "Film": {"figure": figure, "frames": lambda: 2, "moving": lambda: []},
    "MoonsFilm": {
        **{
            "plane": lambda: arrays(2, 5, 2),
            "regions": lambda: arrays(2, 4, 4),
            "extent": lambda: (0.0, 1.0, 0.0, 1.0),
        },
        **{"labelled": lambda: np.array([0, 1]), "accuracies": lambda: arrays(2, 2), "input_accuracy": lambda: 0.5},
    },
    "ranking_figure": {"scores": lambda: {"a": (0.5, 0.1)}, "chance": lambda: 0.1},
    "class_colour": {"number": lambda: 0},
    "class_marker": {"number": lambda: 0},
    "contrast": {"one": lambda: "#000000", "other": lambda: "#ffffff"},
    "figure_to_png": {"figure": figure},
    "show": {"figure": figure, "alt": lambda: "A picture."},
    "idea_figure": {},
    "BackwardWeights": {"rule": lambda: load_rule("local")},
    "Explorable": {"panels": lambda: ["one"]},
    "DigitPad": {"explorer": explorer},
    "Explorer": {"panels": lambda: ["one"], "compute": lambda: print},
    "FilmPlayer": {"film": film, "steps": lambda: [0, 1]},
    "NeuronMicroscope": {"rule": lambda: load_rule("local"), "step": lambda: 1, "neuron": lambda: 1},
    "OwnData": {"owner": lambda: widgets.Explorable(["one"]), "changed": lambda: print},
    "MetaRuleTransformer": {
        "hidden_layer_sizes": lambda: (4,),
        "n_components": lambda: 3,
        "n_steps": lambda: 2,
    },
    "RandomNetExplorer": {"depth": lambda: 2, "width": lambda: 4},
}
FLOWERS = b"length,width,species\n" + b"".join(
    b"%d.5,%d.25,%s\n" % (i, i % 7, b"ab"[i % 2 : i % 2 + 1]) for i in range(40)
)


BAD: tuple[Callable[[], Any], ...] = (
    *(
        lambda v=v: v
        for v in (None, "", "no", "x" * 9999, b"x", True, 0, 1, -1, 2, 3.5, -0.5, 10**9, 10**12, -(10**12))
    ),
    *(lambda v=v: v for v in (2**63, 10**400, float("nan"), float("inf"), 1e308, np.int64(3), np.float32(0.5), 1j)),
    *(lambda v=v: v for v in ((), (1,), (0, 0), (-1, -2), (10**6, 10**6, 10**6), ("a", "a"), (1.5, float("nan")))),
    *(
        lambda: [],
        lambda: [1, 2],
        lambda: [None],
        lambda: {},
        lambda: {"a": 1},
        lambda: {1: None},
        object,
        lambda: iter([2]),
    ),
    *(lambda v=v: v for v in (int, print, lambda *a: None, Path("/dev/null/at/all"), Path("/dev/null"), range(3))),
    *(lambda d=d: torch.ones(6, 6, dtype=d) for d in (torch.int64, torch.bool, torch.float64, torch.bfloat16)),
    lambda: torch.ones(3, dtype=torch.complex64),
    lambda: torch.tensor(1.0),
    lambda: torch.empty(0),
    lambda: torch.empty(0, 6),
    lambda: torch.ones(6),
    lambda: torch.ones(5, 7),
    lambda: torch.ones(2, 60, 6),
    lambda: torch.full((60, 6), float("nan")),
    lambda: torch.full((60, 6), 3e38),
    lambda: torch.zeros(60, 6),
    lambda: torch.ones(6, 6, device="meta"),
    lambda: torch.eye(6).to_sparse(),
    lambda: torch.ones(1).expand(10**6, 10**6),
    lambda: np.array([]),
    lambda: np.ones((3, 3)),
    lambda: np.full((5, 5), np.nan),
    lambda: np.array(["a", "b"]),
    lambda: np.array([None, 1], dtype=object),
    lambda: torch.Generator(),
    lambda: torch.int32,
    lambda: torch.float16,
    lambda: torch.device("meta"),
    lambda: "cuda:77",
    lambda: task(),
    lambda: make_task(data(), permute=False, tasks=(2,)),
    lambda: data(),
    lambda: data(labels=False),
    lambda: init_state((6, 4, 3)),
    lambda: init_state((5, 2), tasks=(2,)),
    lambda: init_state((6, 4, 3), dtype=torch.float64),
    lambda: get_rule("hebb"),
    lambda: get_rule("backprop", n_classes=3),
    lambda: load_rule("local"),
)
