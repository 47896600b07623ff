"""`RuleTimeline`: one slider over the snapshots of a meta-training run, one over inner steps, two snapshots at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._work import Progress
from metarules.base_model import BaseModelState
from metarules.plots import Film
from metarules.plots.timeline import CurvesFilm, EmbeddingPair, FilterPair, TermsFilm, called
from metarules.studies.evolution import Evolution
from metarules.studies.timeline import STEPS, WEIGHT_STD, Timeline
from metarules.tasks import Task
from metarules.widgets.explorer import Explorer, Panels, View
from metarules.widgets.parts import menu, number, wide


def _film(kind: Callable[[Timeline, int, int], Film]) -> Callable[[Timeline, Any], Film]:
    return lambda timeline, option: kind(timeline, *option)


PANELS: Panels[Timeline] = {  # in reading order
    "embedding": (_film(EmbeddingPair), None),
    "filters": (_film(FilterPair), None),
    "curves": (_film(CurvesFilm), None),
    "terms": (_film(TermsFilm), None),
}
_PANEL_LABELS = {"embedding": "the top layer", "filters": "filters", "curves": "the curves", "terms": "the terms"}
_PLAY_EVERY = 600  # milliseconds a snapshot is shown


class RuleTimeline(Explorer[Timeline]):
    """The snapshots of a run: each teaches the same base models, and two of them are seen side by side.

    It opens at the last snapshot and the last inner step, with the start beside it. In sight: play (over the snapshots;
    those not yet taught are taught first), the two sliders, Reset. In the fold: the snapshot beside, the data whose
    embedding and filters are shown, inner steps, spread of the first weights, seed, and a picture to save.

    CSS classes besides those of `Explorer`: `metarules-play`, `metarules-snapshot`, `metarules-step-slider`,
    `metarules-reset`, `metarules-panel-embedding`, `-filters`, `-curves`, `-terms`, and in the fold
    `metarules-beside`, `metarules-kind`, `metarules-steps`, `metarules-spread`, `metarules-seed`,
    `metarules-gif-along`.

    Args:
        evolution: the run, see `studies.evolution.evolution`.
        digits: a single task of images in ten classes.
        beside: the meta-step of the snapshot to compare with.
        steps: inner steps.
        weight_std: spread of the initial W and V.
        seed: of base models, batches, held-out data and labelled examples.

    Raises:
        ValueError, DivergenceError: as `Timeline`; once open, a widget complains in its status line instead.
    """

    dotted: ClassVar[Sequence[str]] = ("embedding",)

    def __init__(
        self,
        evolution: Evolution,
        digits: Task,
        *,
        beside: int = 0,
        steps: int = STEPS,
        weight_std: float = WEIGHT_STD,
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS, self._opened)
        self._evolution, self._digits = evolution, digits
        last = len(evolution.rules) - 1
        self._shown = (last, evolution.number_of(beside, "beside"))  # the slider's snapshot, and the one beside
        self.begin(steps=steps, spread=weight_std, seed=seed)
        names = [(f"{n:,}", i) for i, n in enumerate(evolution.meta_steps)]
        play = widgets.Play(interval=_PLAY_EVERY, max=last, value=last, show_repeat=False)
        self.play = self.control(play, "play", self._on_play)
        slider = widgets.SelectionSlider(description="Meta-step", options=names, value=last)
        slider.layout = widgets.Layout(flex="1 1 250px")
        self.snapshot_slider = self.option("snapshot", slider, self._on_snapshot)
        step = self.make_slider(layout=widgets.Layout(flex="1 1 250px"))
        sight = [play, slider, step, self.make_reset_button()]
        self.beside_menu = self.option("beside", menu("Beside it: meta-step", names, self._shown[1]), self._on_snapshot)
        kinds = [(label, k) for k, label in enumerate(self._first.run.labels)]
        self.kind_menu = self.option("kind", menu("Clouds and filters of", kinds, 0))
        self.steps_box = self.setting("steps", number("Inner steps"))
        spread = widgets.FloatText(description="Spread of first W, V", continuous_update=False, **wide())
        self.spread_box = self.setting("spread", spread)
        self.seed_box = self.setting("seed", number("Seed"))
        picture, name, button = self.make_saving("rule_evolves.gif", "embedding", _PANEL_LABELS)
        along = [("the meta-steps", "meta"), ("the inner steps", "inner")]
        self.gif_along = self.option("gif_along", menu("Film along", along, "meta"), lambda: None)
        fold = [self.beside_menu, self.kind_menu, self.steps_box, self.spread_box, self.seed_box]
        fold += [picture, self.gif_along, name, button]
        self.lay_out(sight, fold, "More: the snapshot beside, data, initial weights, pictures to save")

    # ---- what is shown, as numbers

    @property
    def meta_step(self) -> int:
        """The meta-step of the snapshot shown; set it to go there (see `wait`)."""
        return self._evolution.meta_steps[self._shown[0]]

    @meta_step.setter
    def meta_step(self, meta_step: int) -> None:
        self.snapshot_slider.value = self._evolution.number_of(meta_step)

    @property
    def accuracies(self) -> dict[str, float]:
        """Few-shot accuracy of the snapshot at the inner step shown, for every kind of data."""
        found = self.run[self._shown[0]].accuracies[self._frame]
        return {label: float(value) for label, value in zip(self.run.labels, found, strict=True)}

    @property
    def state(self) -> BaseModelState:
        """phi of the snapshot at the inner step shown, one base model for every kind of data."""
        return self.run[self._shown[0]].states[self._frame]

    # ---- controls

    def _on_play(self) -> None:
        """Show the next snapshot of the film; before the first, teach all that have not been taught."""
        untaught = [i for i in range(len(self._evolution.rules)) if i not in self.run]
        if not untaught:
            self._show_snapshot(self.play.value)
            return
        self.set_quietly(self.play, playing=False, value=self._shown[0])

        def done(_: None) -> None:
            self.set_quietly(self.play, value=0)
            self._show_snapshot(0)
            self.set_quietly(self.play, playing=True)

        self._teach(untaught, f"Learning with {len(untaught)} snapshots", done)

    def _on_snapshot(self) -> None:
        wanted = self.snapshot_slider.value, self.beside_menu.value
        self.set_quietly(self.play, playing=False)
        untaught = [i for i in dict.fromkeys(wanted) if i not in self.run]
        if not untaught:
            self.drop_work()
            self._show_pair(*wanted)
            return
        label = f"Learning with the rule {called(self._evolution.meta_steps[untaught[0]])}"
        self._teach(untaught, label, lambda _: self._show_pair(*wanted))

    def _teach(self, wanted: list[int], label: str, done: Callable[[None], None]) -> None:
        run = self.run

        def work(progress: Progress, stop: threading.Event) -> None:
            for i, snapshot in enumerate(wanted):
                run.teach(snapshot, lambda now, of, i=i: progress(i * of + now, len(wanted) * of), stop)  # type: ignore[misc]

        self.start(label, work, done, self.put_back)

    def _show_snapshot(self, snapshot: int) -> None:
        self._show_pair(snapshot, self._shown[1])

    def _show_pair(self, snapshot: int, beside: int) -> None:
        self._shown = snapshot, beside
        self._say_pair()
        self.redraw()

    def _say_pair(self) -> None:
        """Let the controls say which snapshots are shown."""
        snapshot, beside = self._shown
        self.set_quietly(self.snapshot_slider, value=snapshot)
        self.set_quietly(self.beside_menu, value=beside)
        self.set_quietly(self.play, value=snapshot)

    def put_back(self) -> None:
        """Let the controls say what is shown."""
        super().put_back()
        self._say_pair()

    def restore(self, *, step: int | None = None, **state: Any) -> None:
        """As `Explorer.restore`; `snapshot` and `beside` are numbers of snapshots, which are taught if need be."""
        snapshot, beside = (
            state.get(name, shown) for name, shown in zip(("snapshot", "beside"), self._shown, strict=True)
        )
        super().restore(**state)
        self.set_quietly(self.snapshot_slider, value=snapshot)
        self.set_quietly(self.beside_menu, value=beside)
        self.guarded(self._on_snapshot)()
        self.wait()
        if step is not None:
            self.step = step

    def reset(self) -> None:
        """Back to how this opened."""
        self.set_quietly(self.play, playing=False)
        self._shown = self._opening["snapshot"], self._opening["beside"]
        super().reset()

    def frames_to_save(self, film: Film) -> tuple[list[int], int]:
        """Over all snapshots at the inner step shown, or over the inner steps of the snapshot shown."""
        frames = len(self.run.steps)
        if self.gif_along.value == "meta":
            return [s * frames + self._frame for s in range(len(self._evolution.rules))], 700
        return [self._shown[0] * frames + f for f in range(frames)], 120

    def prepare_frame(self, frame: int, stop: threading.Event) -> None:
        """Teach its snapshot."""
        self.run.teach(frame // len(self.run.steps), None, stop)

    # ---- computing and telling

    def _opened(
        self, *, steps: int, spread: float, seed: int, progress: Progress | None, stop: threading.Event | None
    ) -> Timeline:
        """A timeline with these settings, the snapshots shown already taught."""
        timeline = Timeline(self._evolution, self._digits, steps=steps, weight_std=spread, seed=seed)
        wanted = list(dict.fromkeys(self._shown))
        for i, snapshot in enumerate(wanted):

            def tell(now: int, of: int, i: int = i) -> None:
                if progress is not None:
                    progress(i * of + now, len(wanted) * of)

            timeline.teach(snapshot, tell, stop)
        return timeline

    def option_of(self, view: View[Timeline], panel: str) -> Hashable:
        """Every picture is of a pair, on one kind of data."""
        return self._shown[1], self._options["kind"].value if "kind" in self._options else 0

    def place_in_film(self) -> int:
        """As `Explorer.place_in_film`, of the snapshot shown."""
        return self._shown[0] * len(self.run.steps) + self._frame

    def example_behind(self, panel: str, dot: int) -> tuple[Task, int]:
        """As `Explorer.example_behind`: of the kind of data whose cloud is shown."""
        return self.run.task.task(self.kind_menu.value), int(self.run.dots[dot])

    def picture(self, view: View[Timeline], panel: str, frame: int) -> tuple[bytes, str]:
        """As `Explorer.picture`, of the snapshot shown."""
        film, place = self.film(view, panel), self._shown[0] * len(view.run.steps) + frame
        return film.png(place), film.alt(place)

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """What the status line says while new base models are taught."""
        return "Learning with both snapshots"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        run, (snapshot, beside) = self.run, self._shown
        now, other = (run[i].accuracies[self._frame] for i in (snapshot, beside))
        accuracies = ", ".join(f"{label} {now[k]:.2f} ({other[k]:.2f})" for k, label in enumerate(run.labels))
        cosine = run[snapshot].cosines[self._frame, self.kind_menu.value].mean()
        return (
            f"The rule {called(self.meta_step)} (beside it: {called(self._evolution.meta_steps[beside])}), inner step "
            f"{self.step} of {run.steps[-1]}: few-shot accuracy {accuracies}; mean cosine of W and V {cosine:.2f}."
        )

    def kept(self) -> str:
        """Which snapshot is still shown."""
        return f"Still showing the rule {called(self.meta_step)}."
