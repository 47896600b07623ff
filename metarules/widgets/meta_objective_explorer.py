"""`MetaObjectiveExplorer`: the ridge read-out, its score, and the arrows of its gradient on features in the plane."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets as widgets

from metarules._work import Progress
from metarules.meta_objective import MetaObjectiveSettings, RidgeScore
from metarules.plots.feature_plane import PlanePicture, reach_of
from metarules.plots.ridge_scores import AnswersPicture, CurvesPicture
from metarules.studies.objective import (
    DATA,
    MOST_LABELS,
    RIDGES,
    VARIANTS,
    Descent,
    explore_objective,
    make_clouds,
    objective,
    scene_of,
)
from metarules.widgets.base import Explorable

PANELS = ("plane", "answers", "ridge", "moves")
ARROWS = {"both batches": ("a", "b"), "batch a": ("a",), "batch b": ("b",), "none": ()}


class MetaObjectiveExplorer(Explorable):
    """Change the objective, see what it would do to the features, and let it.

    It opens before the first move, with all arrows drawn. In sight: K, lambda, the spread of the classes, and a button
    that takes every point to the tip of its arrow (after the last move, back to the start). In the fold: the data, the
    variant of the objective, the seed, whose arrows are drawn, Reset. Every control but the button and the choice of
    arrows starts again from features that have not moved.

    CSS classes besides those of `Explorable`: `metarules-labels`, `metarules-ridge`, `metarules-spread`,
    `metarules-follow`, `metarules-panel-plane`, `-answers`, `-ridge`, `-moves`, and in the fold `metarules-data`,
    `metarules-variant`, `metarules-seed`, `metarules-arrows`, `metarules-reset`.

    Args:
        data: name of a data set, see `meta_objective_explorer_core.DATA`.
        labels_per_class: K, 1 to 20.
        ridge: lambda, 0.001 to 1000.
        spread: times the distances within classes, 0.2 to 2.
        variant: of the objective, see `meta_objective_explorer_core.VARIANTS`.
        seed: of the points.

    Raises:
        ValueError, TypeError: arguments out of range; once open, a widget complains in its status line instead.
    """

    def __init__(
        self,
        data: str = "Three clouds",
        *,
        labels_per_class: int = 5,
        ridge: float = 0.1,
        spread: float = 1.0,
        variant: str = "Cosine distance (the paper's)",
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS)
        chosen = {
            "labels_box": labels_per_class,
            "ridge_box": ridge,
            "spread_box": spread,
            "data_menu": data,
            "variant_menu": variant,
            "seed_box": seed,
        }
        self._first = self._shown = (_pull(chosen), chosen)
        self._move = 0
        self._plane, self._answers = PlanePicture(), AnswersPicture()
        self._ridge = CurvesPicture(
            "From weak to strong penalty", "the same features, scored with every lambda", "lambda",
            ("loss", "error on b", "penalty"), log=True,
        )  # fmt: skip
        self._moves = CurvesPicture(
            "Follow the arrows", "what each press of the button does, and will do", "moves along the arrows",
            ("loss", "share of b right"),
        )  # fmt: skip
        self._make_controls()
        self._open(self._first)

    # ---- what is shown, as numbers

    @property
    def pull(self) -> Descent:
        """Everything that is shown, for all moves."""
        return self._shown[0]

    @property
    def move(self) -> int:
        """How many moves the features shown have made; set it to go there."""
        return self._move

    @move.setter
    def move(self, move: int) -> None:
        self._go(max(0, min(int(move), len(self.pull.path_a) - 1)))

    @property
    def loss(self) -> float:
        """The meta-objective of the features shown."""
        return float(self.pull.score.loss[self._move])

    @property
    def accuracy(self) -> float:
        """Share of batch b whose largest prediction is the right one."""
        return float(self.pull.score.accuracy_b[self._move])

    @property
    def settings(self) -> MetaObjectiveSettings:
        """The objective."""
        return self.pull.settings

    # ---- controls

    def _make_controls(self) -> None:
        chosen = self._first[1]
        sight: dict[str, Any] = {"style": {"description_width": "62px"}, "layout": widgets.Layout(width="252px")}
        wide: dict[str, Any] = {"style": {"description_width": "90px"}, "layout": widgets.Layout(width="430px")}
        labels = widgets.IntSlider(description="K labels", min=1, max=MOST_LABELS, **sight)
        self.labels_box = self.control(labels, "labels", self._recompute)
        ridge = widgets.FloatLogSlider(description="lambda", min=-3, max=3, step=0.2, readout_format=".4g", **sight)
        self.ridge_box = self.control(ridge, "ridge", self._recompute)
        spread = widgets.FloatSlider(description="Spread", min=0.2, max=2, step=0.1, readout_format=".1f", **sight)
        self.spread_box = self.control(spread, "spread", self._recompute)
        tip = "Take every point to the tip of its arrow; after the last move, back to the start"
        self.follow_button = self.button("Follow the arrows", "follow", tip, self._on_follow)
        data = widgets.Dropdown(description="Data", options=list(DATA), value=chosen["data_menu"], **wide)
        self.data_menu = self.control(data, "data", self._recompute)
        options = list(VARIANTS)
        variant = widgets.Dropdown(description="Objective", options=options, value=chosen["variant_menu"], **wide)
        self.variant_menu = self.control(variant, "variant", self._recompute)
        seed = widgets.IntText(description="Seed", continuous_update=False, **wide)
        self.seed_box = self.control(seed, "seed", self._recompute)
        drawn = widgets.Dropdown(description="Arrows on", options=list(ARROWS), **wide)
        self.arrows_menu = self.control(drawn, "arrows", self._on_arrows)
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self._on_reset)
        sliders = [self.labels_box, self.ridge_box, self.spread_box, self.follow_button]
        fold = [self.data_menu, self.variant_menu, self.seed_box, self.arrows_menu, self.reset_button]
        self.lay_out(sliders, fold, "More: data, objective, seed, arrows")

    def _on_follow(self) -> None:
        self._go((self._move + 1) % len(self.pull.path_a))

    def _on_arrows(self) -> None:
        self.show("plane", *self._draw_plane())

    def _on_reset(self) -> None:
        self.drop_work()
        self.set_quietly(self.arrows_menu, value=next(iter(ARROWS)))
        self._open(self._first)

    def _recompute(self) -> None:
        """Score and follow anew with what the controls say: at once, or off the main thread where a net is taught."""
        chosen = {name: getattr(self, name).value for name in self._first[1]}
        if not chosen["data_menu"].startswith("Digits"):
            self.drop_work()
            try:
                self._open((_pull(chosen), chosen))
            except (ValueError, TypeError):
                self._put_back()
                raise
            return

        def work(progress: Progress, stop: threading.Event) -> tuple[Descent, dict[str, Any]]:
            return _pull(chosen), chosen

        self.start(f"Drawing {chosen['data_menu']}", work, self._open, self._put_back)

    # ---- showing

    def _open(self, shown: tuple[Descent, dict[str, Any]]) -> None:
        """Show features that have not moved."""
        self._shown = shown
        self._put_back()
        p = self.pull
        self._reach = reach_of(*(scene_of(p, move) for move in range(len(p.path_a))))
        self._go(0)

    def _put_back(self) -> None:
        """Let the controls say what is shown."""
        for name, value in self._shown[1].items():
            self.set_quietly(getattr(self, name), value=value)

    def _go(self, move: int) -> None:
        """Show the features after some moves."""
        self._move = move
        p = self.pull
        now = _parts(p.score, move)
        kind, threads = _kind(p.settings)
        self.show("plane", *self._draw_plane())
        raw = p.score.predictions_b[move]
        scaled = p.settings.normalise_predictions and not p.settings.logit_scale
        answers = raw / raw.norm(dim=-1, keepdim=True).clamp_min(1e-12) if scaled else raw
        targets = p.score.targets_b[move]
        names, parts = p.class_names, (kind, now["error"], now["penalty"], now["loss"])
        picture = self._answers.picture(
            answers.numpy(), targets.numpy(), p.labels_b.numpy(), names, parts, threads=threads
        )
        self.show("answers", *picture)
        curves = [part[move].numpy() for part in (p.sweep.loss, p.sweep.error_b, p.sweep.penalty)]
        at = (p.settings.ridge, now["loss"])
        self.show("ridge", *self._ridge.picture(RIDGES, curves, at, f"lambda {p.settings.ridge:.4g}"))
        history = [p.score.loss.numpy(), p.score.accuracy_b.numpy()]
        steps = range(len(p.path_a))
        self.show("moves", *self._moves.picture(steps, history, (move, now["loss"]), f"move {move}"))
        n, k = len(p.labels_b), len(p.labels_a) // len(names)
        self.say(
            f"Move {move} of {len(p.path_a) - 1}, K = {k}, lambda = {p.settings.ridge:.4g}: loss {now['loss']:.2f} = "
            f"{kind} {now['error']:.2f} + penalty {now['penalty']:.2f}; "
            f"{round(self.accuracy * n)} of {n} in batch b right."
        )

    def _draw_plane(self) -> tuple[bytes, str]:
        return self._plane.picture(scene_of(self.pull, self._move), self._reach, ARROWS[self.arrows_menu.value])

    def kept(self) -> str:
        """Which data are still shown."""
        return f"Still showing {self._shown[1]['data_menu']}."


def _pull(chosen: dict[str, Any]) -> Descent:
    return explore_objective(
        make_clouds(chosen["data_menu"], chosen["seed_box"]),
        objective(chosen["variant_menu"], chosen["ridge_box"]),
        labels_per_class=chosen["labels_box"],
        spread=chosen["spread_box"],
    )


def _parts(score: RidgeScore, move: int) -> dict[str, float]:
    return {
        "loss": float(score.loss[move]),
        "error": float(score.error_b[move]),
        "penalty": float(score.penalty[move]),
    }


def _kind(settings: MetaObjectiveSettings) -> tuple[str, bool]:
    """What the error is called, and whether it is a distance between answers and targets."""
    if settings.logit_scale:
        return "cross-entropy", False
    if settings.hinge:
        return "distance above 1", True
    return ("cosine distance" if settings.normalise_predictions else "squared distance"), True
