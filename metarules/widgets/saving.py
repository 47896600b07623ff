"""`Saving`: a picture of an explorer written to a file: the step shown as PNG or SVG, the whole film as GIF."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from metarules._checks import check_choice
from metarules._files import write_atomically
from metarules._work import Progress, Stopped
from metarules.plots import Film
from metarules.plots.gif import save_gif
from metarules.widgets.frames import Frames
from metarules.widgets.parts import menu, wide


class Saving(Frames):
    """Base class of the explorers: their pictures can be saved. See `Explorer`.

    CSS classes besides those of `Frames`, where the controls are used: `metarules-save-panel`, `metarules-save-name`,
    `metarules-save-picture`.
    """

    def make_saving(self, name: str, chosen: str, labels: Mapping[str, str] | None = None) -> list[Any]:
        """A menu of pictures, the name of the file, and a button.

        Args:
            name: of the file, to begin with; its ending decides what is written.
            chosen: the panel to begin with.
            labels: panel -> what the menu calls it; the panels' names by default.
        """
        entries = [(text, panel) for panel, text in (labels or {panel: panel for panel in self.panels}).items()]
        self.save_panel = self.control(menu("Picture", entries, chosen), "save-panel", lambda: None)
        text = widgets.Text(value=name, description="Save it as", continuous_update=False, **wide())
        self.save_name = self.control(text, "save-name", lambda: None)
        tip = "Into this folder: the step shown as .png or .svg, the film as .gif"
        self.save_button = self.button("Save the picture", "save-picture", tip, self._on_save)
        self.resting += [(self.save_panel, chosen), (self.save_name, name)]
        return [self.save_panel, self.save_name, self.save_button]

    # ---- for subclasses: what they may write

    def shown_film(self, panel: str) -> tuple[Film, int]:
        """The film of a panel, and its frame that is shown."""
        raise NotImplementedError(f"{type(self).__name__} must define shown_film")

    def frames_to_save(self, film: Film) -> tuple[list[int], int]:
        """The frames of a GIF, and the milliseconds that each is shown."""
        return list(range(film.frames)), 120

    def prepare_frame(self, frame: int, stop: threading.Event) -> None:
        """Whatever it takes until a frame can be drawn."""

    # ---- what the button does

    def _on_save(self) -> None:
        """Write the picture, off the main thread."""
        path = Path(self.save_name.value)
        film, frame = self.shown_film(self.save_panel.value)
        check_choice("ending of the file", path.suffix.lower(), (".png", ".svg", ".gif"))
        frames, milliseconds = self.frames_to_save(film)

        def work(progress: Progress, stop: threading.Event) -> Path:
            if path.suffix.lower() != ".gif":
                write_atomically(path, film.png(frame) if path.suffix.lower() == ".png" else film.svg(frame))
                return path
            for done, one in enumerate(frames):
                if stop.is_set():
                    raise Stopped(f"stopped after {done} of {len(frames)} frames")
                self.prepare_frame(one, stop)
                film.png(one)
                progress(done + 1, len(frames))
            return save_gif(film, path, frames=frames, milliseconds=milliseconds)

        def done(written: Path) -> None:
            kilobytes = written.stat().st_size / 1000
            many = f"{len(frames)} frames, " if written.suffix.lower() == ".gif" else ""
            self.say(f"Wrote {written.name}: {many}{kilobytes:.0f} kB.")

        self.start(f"Drawing {path.name}", work, done, self.put_back)

    def put_back(self) -> None:
        """Let the controls say what is shown."""
        raise NotImplementedError(f"{type(self).__name__} must define put_back")
