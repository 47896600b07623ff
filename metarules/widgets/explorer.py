"""`Explorer`: the base of the widgets that compute something once and then show every moment of it in linked pictures.

A new one is a few lines: which films its panels show, what computes a run, its controls, and a sentence.

    class Filters(Explorer[Exploration]):
        def __init__(self, rule, task):
            panels = {"filters": (lambda e, scale: FilterFilm(e.filters, e.steps, scale), "scale")}
            super().__init__(panels, functools.partial(explore, rule), task)
            self.begin(steps=50, seed=0)
            self.seed_box = self.setting("seed", number("Seed"))
            self.scale_box = self.option("scale", widgets.Checkbox(description="One scale"))
            sight = [self.make_play(), self.make_slider(), self.make_step_button(), self.make_reset_button()]
            self.lay_out(sight, [self.seed_box, self.scale_box], "More")

        def sentence(self):
            return f"Step {self.step}."
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, cast

import ipywidgets as widgets

from metarules._checks import check_names
from metarules._work import Progress, usual
from metarules.plots import Film
from metarules.studies.example import Example, example_of
from metarules.tasks import Task
from metarules.widgets.own_data import OwnData, Source
from metarules.widgets.peek import Peek
from metarules.widgets.saving import Saving

Run = TypeVar("Run")
Panels = Mapping[str, tuple[Callable[[Run, Any], Film], str | None]]


@dataclass(eq=False)
class View(Generic[Run]):
    """A run and how it is shown.

    Attributes:
        run: what was computed.
        settings: what the controls say while it is shown, by their names.
        source: the data it was computed on; None for explorers without data.
        films: made so far, by panel and option.
    """

    run: Run
    settings: dict[str, Any]
    source: Source | None
    films: dict[tuple[str, Hashable], Film] = field(default_factory=dict)


class Explorer(Saving, Generic[Run]):
    """Base class: a run is computed with the settings, and a slider moves through its frames.

    A subclass calls `begin`, makes its controls, and ends with `lay_out`; it writes `sentence` and `kept`. A change of
    a `setting` computes another run, off the main thread; a change of an `option` draws other pictures of the same run;
    Reset goes back to how it opened.

    CSS classes besides those of `Saving`, where the controls are used: `metarules-reset`, `metarules-peek`, and those
    of `OwnData`.

    Args:
        panels: panel -> (the function of a run and an option that makes its film, the name of the option or None), in
            reading order; names alone where the subclass writes `picture` itself.
        compute: makes a run; called with the settings by name, with `task` if there is one, and with `progress` and
            `stop` as `studies.trajectory.explore` takes them.
        task: the data that it opens with, which a reader can exchange for her own; None for an explorer without data.
    """

    dotted: ClassVar[Sequence[str]] = ()  # panels whose films have dots (`Film.clouds`): see `example_behind`
    invites: ClassVar[str] = "Click a dot to see which one it is."
    runs_kept: ClassVar[int] = 1  # besides the first; more make going back no work, at about 20 MB of films each

    def __init__(
        self, panels: Panels[Run] | Sequence[str], compute: Callable[..., Run], task: Task | None = None
    ) -> None:
        super().__init__(list(panels))
        self.data = None if task is None else OwnData(task, self, self.recompute)
        self._panels: Panels[Run] = panels if isinstance(panels, Mapping) else {}
        self._compute = compute
        self._settings: dict[str, Any] = {}  # name -> control
        self._options: dict[str, Any] = {}
        self._opening: dict[str, Any] = {}  # option -> its value when this opened
        self._views: dict[Hashable, View[Run]] = {}
        self._every = dict(self.panels)  # those that stand in sight are `panels`
        self._curves: set[str] = set()  # panels that answer a click by going to its step

    # ---- what is shown

    @property
    def run(self) -> Run:
        """What was computed, with everything that is drawn of it."""
        return self._view.run

    @property
    def on_data(self) -> str:
        """For sentences: " on iris (150 examples, 3 classes)", or nothing while the data are those it opened with."""
        return "" if self.data is None else self.data.on_data

    def use(self, data: Any) -> None:
        """Learn on other data, off the main thread (see `wait`); what cannot be read is answered in the status line.

        Args:
            data: a path as for `metarules.tasks.read_dataset`, a `Dataset`, a `Task`, or a mapping from file names to
                bytes. The names of classes are not shown: they are numbered in their order.

        Raises:
            TypeError: an explorer without data.
        """
        if self.data is None:
            raise TypeError(f"{type(self).__name__} makes its own data; allowed: an explorer that opens with a task")
        self.guarded(self.data.use)(data)

    def as_code(self, name: str = "explorer") -> str:
        """One line of Python that brings an explorer of this kind back to what this one shows: settings, options, step.

        Data of the reader's own are not in it: hand them to `use` first.

        Args:
            name: of the variable that the line is to speak of.
        """
        options = {option: control.value for option, control in self._options.items()}
        state = {**self._view.settings, **options, **self.more_state(), "step": self.step}
        return f"{name}.restore({', '.join(f'{key}={value!r}' for key, value in state.items())})"

    def restore(self, *, step: int | None = None, **state: Any) -> None:
        """Go back to what `as_code` wrote down; what is not named stays. It is computed before this returns.

        Args:
            step: the inner step to show.
            state: values of settings and options, by their names. Those that cannot be used are
                answered in the status line, like those of a control.

        Raises:
            ValueError: a name that is neither setting nor option.
        """
        controls = {**self._settings, **self._options}
        check_names("state", state, controls)

        def move() -> None:
            for name, value in state.items():
                self.set_quietly(controls[name], value=value)
            self.recompute()

        self.guarded(move)()
        self.wait()
        if step is not None:
            self.step = step

    # ---- for subclasses: what they write

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        raise NotImplementedError(f"{type(self).__name__} must define sentence")

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """What the status line says while a run with these settings is computed."""
        return "Computing"

    def steps_of(self, run: Run) -> Sequence[int]:
        """The steps of a run's frames, rising; by default `run.steps`."""
        return cast(Any, run).steps

    @property
    def places(self) -> Sequence[int]:
        """As `Frames.places`."""
        return self.steps_of(self.run)

    def more_state(self) -> dict[str, Any]:
        """What `as_code` writes besides settings and options, or otherwise than they stand: literals, for `restore`."""
        return {}

    def example_behind(self, panel: str, dot: int) -> tuple[Task, int] | Example:
        """What a dot of one of the panels in `dotted` stands for: a single task and a row of it, or the example."""
        raise NotImplementedError(f"{type(self).__name__} must define example_behind")

    def first_frame(self, view: View[Run]) -> int:
        """The frame that is shown first; by default the last."""
        return len(self.steps_of(view.run)) - 1

    def resolved(self, run: Run, settings: dict[str, Any]) -> dict[str, Any]:
        """What the controls say of a run computed with these settings: a None has become a number."""
        return {**settings, "steps": self.steps_of(run)[-1]} if "steps" in settings else settings

    def panels_of(self, view: View[Run]) -> Sequence[str]:
        """The panels that show a run, in reading order; by default all."""
        return list(self._every)

    def option_of(self, view: View[Run], panel: str) -> Hashable:
        """The option of a panel: by default what the control says that its entry names."""
        name = self._panels[panel][1]
        return None if name is None else self._options[name].value

    # ---- for subclasses: controls

    def begin(self, **settings: Any) -> None:
        """Compute what this opens with, at once."""
        self._first = self._view = usual()(self.compute_view)(settings, None if self.data is None else self.data.wanted)

    def setting(self, name: str, control: Any, callback: Callable[[], None] | None = None) -> Any:
        """A control that a run depends on; its value reaches `compute` as NAME, its CSS class is `metarules-NAME`.

        The name is Python's, for `as_code` to write; the class has hyphens in place of its underscores.
        """
        self._settings[name] = control
        return self.control(control, name.replace("_", "-"), callback or self.recompute)

    def option(self, name: str, control: Any, callback: Callable[[], None] | None = None) -> Any:
        """A control that the pictures alone depend on; name and CSS class as for `setting`."""
        self._options[name], self._opening[name] = control, control.value
        return self.control(control, name.replace("_", "-"), callback or self.redraw)

    def make_reset_button(self) -> Any:
        """Goes back to how this opened."""
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self.reset)
        return self.reset_button

    def lay_out(self, controls: Sequence[widgets.Widget], fold: Sequence[widgets.Widget], fold_title: str) -> None:
        """Put everything in its place, the reader's data last in the fold, and show what `begin` computed."""
        own = [] if self.data is None else [self.data.controls()]
        super().lay_out(controls, [*fold, *self.speeds, *own], fold_title)
        self._peek = Peek(self.invites)
        if dotted := [name for name in self.dotted if name in self.panels]:
            *above, pictures = self.children
            self.children = [*above, self._peek, pictures]
        for name in dotted:
            self._answer_clicks(name, self._on_dot)
        self.open_view(self._first)

    # ---- what controls do

    def read_controls(self) -> dict[str, Any]:
        """The settings that the controls ask for."""
        return {name: control.value for name, control in self._settings.items()}

    def set_controls(self, settings: Mapping[str, Any]) -> None:
        """Let the controls say these settings."""
        for name, control in self._settings.items():
            self.set_quietly(control, value=settings[name])

    def put_back(self) -> None:
        """Let the controls say what is shown."""
        if self.data is not None and self._view.source is not None:
            self.data.show(self._view.source)
        self.set_controls(self._view.settings)

    def reset(self) -> None:
        """Back to how this opened."""
        self.drop_work()
        if self.data is not None:
            self.data.back()
        for name, value in self._opening.items():
            self.set_quietly(self._options[name], value=value)
        for control, value in self.resting:
            self.set_quietly(control, value=value)
        self.open_view(self._first)

    def recompute(self) -> None:
        """Show what the controls ask for: kept already, or computed off the main thread."""
        settings, source = self.read_controls(), None if self.data is None else self.data.wanted
        self.stop_playing()
        if (known := self._views.get(_key(settings, source))) is not None:
            self.drop_work()
            self.open_view(known)
            return

        def work(progress: Progress, stop: threading.Event) -> View[Run]:
            view = self.compute_view(settings, source, progress, stop)
            self.draw_first(view)
            return view

        news = "" if self.data is None else self.data.new_name
        self.start(f"{self.work_label(settings)}{news}", work, self.open_view, self.put_back)

    def compute_view(
        self,
        settings: dict[str, Any],
        source: Source | None = None,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> View[Run]:
        """A run with these settings, on these data."""
        data = {} if source is None else {"task": source.task()}
        run = self._compute(**data, **settings, progress=progress, stop=stop)
        return View(run, self.resolved(run, settings), source)

    # ---- showing

    def draw_first(self, view: View[Run]) -> None:
        """Draw what will be shown first, while the status line still says that work is under way."""
        self.draw(view, self.first_frame(view))

    def open_view(self, view: View[Run]) -> None:
        """Show a run, and let the controls say how it was made."""
        frame = self.first_frame(view)
        self._view = view
        self._peek.clear()
        self.progress.value = 0.0  # where the bar last stood depends on the clock, and a notebook stores it
        self._views[_key(view.settings, view.source)] = view
        while len(self._views) > self.runs_kept:
            self._views.pop(next(iter(self._views)))
        if list(self.panels) != (shown := list(self.panels_of(view))):
            self.panels = {name: self._every[name] for name in shown}
            self.children[-1].children = list(self.panels.values())
        for name in self._panels:
            if name in self.panels and name not in self._curves and self.film(view, name).step_axes is not None:
                self._curves.add(name)
                self._answer_clicks(name, self._on_curve)
        self.stop_playing()
        self.fit_controls()
        self.put_back()
        self.show_frame(frame)

    def redraw(self) -> None:
        """Show all panels at the frame and with the options chosen, and say what is shown."""
        self.show_pictures()
        if not self.busy:
            self.say(self.sentence() + ("" if self.data is None else self.data.reading))

    def show_pictures(self) -> None:
        """Show all panels at the frame and with the options chosen."""
        for name, picture in self.draw(self._view, self._frame).items():
            self.show(name, *picture)

    def draw(self, view: View[Run], frame: int) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel at a frame; a film is made when first needed."""
        return {name: self.picture(view, name, frame) for name in self.panels_of(view)}

    def picture(self, view: View[Run], panel: str, frame: int) -> tuple[bytes, str]:
        """PNG and alternative text of a panel at a frame."""
        film = self.film(view, panel)
        return film.png(frame), film.alt(frame)

    def film(self, view: View[Run], panel: str) -> Film:
        """The film of a panel, made when first needed and kept."""
        option = self.option_of(view, panel)
        if (panel, option) not in view.films:
            view.films[panel, option] = self._panels[panel][0](view.run, option)
        return view.films[panel, option]

    def shown_film(self, panel: str) -> tuple[Film, int]:
        """As `Saving.shown_film`."""
        return self.film(self._view, panel), self.place_in_film()

    def _answer_clicks(self, panel: str, answer: Callable[[str], None]) -> None:
        self._every[panel].clickable = True
        self._every[panel].observe(self.guarded(lambda _: answer(panel)), names="clicked")

    def _on_dot(self, panel: str) -> None:
        """Show the example behind the dot that was clicked."""
        film, place = self.film(self._view, panel), self.panels[panel].clicked[:2]
        dot = film.dot_at(self.place_in_film(), *place)
        found = None if dot is None else self.example_behind(panel, dot)
        self._peek.show(example_of(*found) if isinstance(found, tuple) else found)

    def _on_curve(self, panel: str) -> None:
        """Go to the step that was clicked."""
        self.go_by_click(self.film(self._view, panel), *self.panels[panel].clicked[:2])

    def place_in_film(self) -> int:
        """The frame of the films that is shown: by default that of the run."""
        return self._frame


def _key(settings: Mapping[str, Any], source: Source | None) -> Hashable:
    return frozenset(settings.items()), source
