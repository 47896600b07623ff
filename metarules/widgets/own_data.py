"""What lets a reader bring her own data to an explorer: a box for a path, a button to upload, and `use` for code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, cast

import ipywidgets as widgets
import torch

from metarules.studies.recording import check_single_task
from metarules.tasks import SUFFIXES, Dataset, Task, make_task, read_dataset, read_files, some_examples
from metarules.widgets.base import Controls
from metarules.widgets.parts import marked, menu, wide

MOST = 2000  # examples an explorer learns on: about as many as there are digits, for an answer within two seconds
_HELP = """<div style="line-height: 1.4; max-width: 860px"><b>A table</b> (.csv): a row per example, numbers, and a
column of labels, called <i>label</i>, <i>class</i> .. or the only text. <b>Arrays</b>: .npz with <i>x</i> and <i>y</i>,
or .npy with <i>..._labels.npy</i> beside it. <b>Images</b>: a folder with a sub-folder per class, or files
<i>cat_1.png</i>, <i>cat_2.png</i>, <i>dog_1.png</i>. Eleven examples of each class at least: the rule sees no labels,
the probe that measures its features does. How a file was read stands in the line below; the boxes overrule it, by the
rules of <code>help(metarules.read_dataset)</code>. At most 100 MB in all; over 10 MB: give a path. Nothing leaves this
machine. Reset brings the lesson's data back.</div>"""
_TYPED = {  # option of `read_dataset` -> what its box shows while it is empty
    "label": "name or number",
    "drop": "names or numbers, a comma between",
    "shape": "8 x 8, or none for a table",
    "scale": "columns, one, or the value for 1",
}
_MENUS: dict[str, list[Any]] = {
    "separator": ["", ";", ",", ("tab", "\t"), "|", ("blank", " ")],
    "decimal": ["", ".", ","],
}


class Source:
    """Data that were asked for: read when first needed, on whichever thread needs them, and then kept.

    Args:
        what: a `Task`, a `Dataset`, a path, or a mapping from the names of uploaded files to their bytes.
        options: of `read_dataset`, for paths and files.
    """

    def __init__(self, what: object, options: Mapping[str, Any] | None = None) -> None:
        self._what, self._options = what, options or {}
        self.reading = ""  # how the file was read, in words, once it has been
        self._lock = threading.Lock()
        self._task: Task | None = what if isinstance(what, Task) else None
        self._whole = self._task.n_examples if self._task else 0

    @property
    def name(self) -> str:
        """What to call the data before they are read: the last part of a path, the first of several files."""
        if isinstance(self._what, Task | Dataset):
            return self._what.name
        if isinstance(self._what, Mapping):
            first = str(next(iter(self._what), "nothing"))
            return first if len(self._what) < 2 else f"{first} and {len(self._what) - 1} more"
        return PurePath(str(self._what)).name or str(self._what)

    def holds(self, task: Task) -> bool:
        """Whether these data have been read and are that task."""
        return self._task is task

    def task(self) -> Task:
        """The data as a task: images with shuffled pixels, as in the lessons; at most 2,000 examples, see `MOST`.

        Raises:
            ValueError, TypeError: as `read_dataset`.
        """
        with self._lock:
            if self._task is None:
                dataset = self._read()
                self._whole, self.reading = len(dataset), dataset.reading
                some = some_examples(dataset, MOST)
                shuffle = torch.Generator().manual_seed(0)
                self._task = make_task(some, permute=some.shape is not None, generator=shuffle)
            return self._task

    def described(self) -> str:
        """Name, number of examples and classes, once the data have been read."""
        task = self.task()
        part = "" if self._whole == task.n_examples else f"{task.n_examples} of its "
        return f"{task.name} ({part}{self._whole} examples, {task.n_classes} classes)"

    def _read(self) -> Dataset:
        if isinstance(self._what, Dataset):
            return self._what
        if isinstance(self._what, Mapping):
            return read_files(self._what, **self._options)
        return read_dataset(cast(Path, self._what), **self._options)  # which refuses what is no path, in a sentence


class OwnData:
    """The part of an explorer where data are brought: it holds which data are shown and which are asked for.

    The explorer learns on `wanted`, in the work that it starts, and calls `show` with the source of what it shows
    whenever that changes, or stays after an error; its Reset calls `back`.

    CSS classes: `metarules-data`, `metarules-data-path`, `metarules-data-upload`, and for the options of `read_dataset`
    `metarules-data-label`, `metarules-data-drop`, `metarules-data-shape`, `metarules-data-scale`,
    `metarules-data-separator`, `metarules-data-decimal`.

    Args:
        task: the data that the explorer opens with.
        owner: the explorer.
        changed: called when other data are asked for; learns on them.

    Raises:
        ValueError: a task with leading dimensions.
    """

    def __init__(self, task: Task, owner: Controls, changed: Callable[[], None]) -> None:
        check_single_task(task)
        self._first = self.shown = self.wanted = Source(task)
        self._owner, self._changed = owner, changed
        self._asked: Any = None  # what was asked for last, which options are about

    def use(self, data: Any) -> None:
        """Ask for other data, see `Explorer.use`."""
        self._asked = data
        self.wanted = Source(data, {name: _value(name, box.value) for name, box in self.options.items() if box.value})
        self._changed()

    @property
    def on_data(self) -> str:
        """For sentences: " on iris (150 examples, 3 classes)", or nothing while the data are those it opened with."""
        return "" if self.shown is self._first else f" on {self.shown.described()}"

    @property
    def reading(self) -> str:
        """How the data shown were read, as a sentence; nothing where no file was."""
        return f" Read with {self.shown.reading}." if self.shown.reading else ""

    @property
    def new_name(self) -> str:
        """For the sentence about work that begins: the name of data that are read or learned on for the first time."""
        return "" if self.wanted in (self.shown, self._first) else f" on {self.wanted.name}"

    def controls(self) -> widgets.Widget:
        """A box for a path and a button to upload, for the fold."""
        path = widgets.Text(
            description="Your data: a path",
            placeholder="flowers.csv",
            continuous_update=False,
            style={"description_width": "150px"},
            layout=widgets.Layout(flex="1 1 430px", max_width="640px"),
        )
        self.path_box = self._owner.control(path, "data-path", self._on_path)
        upload = widgets.FileUpload(
            accept=",".join(SUFFIXES), multiple=True, description="or upload", tooltip="A table, arrays or images"
        )
        self.upload_button = self._owner.control(upload, "data-upload", self._on_upload)
        self.options = {
            name: self._owner.control(box, f"data-{name}", self._on_option) for name, box in _option_boxes().items()
        }
        parts = [self.path_box, self.upload_button, *self.options.values()]
        row = widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))
        return marked(widgets.VBox([row, widgets.HTML(_HELP)], layout=widgets.Layout(width="100%")), "data")

    def show(self, source: Source) -> None:
        """Take note of the data that are shown; what is learned next is learned on them."""
        if self.shown is not source and source is self._first:
            self._owner.set_quietly(self.path_box, value="")
        self.shown = self.wanted = source

    def back(self) -> None:
        """Ask for the data that the explorer opened with."""
        self.wanted, self._asked = self._first, None
        for box in (self.path_box, *self.options.values()):
            self._owner.set_quietly(box, value="")

    def _on_option(self) -> None:
        if self._asked is not None:
            self.use(self._asked)

    def _on_path(self) -> None:
        if path := self.path_box.value.strip():
            self.use(path)
        elif self.shown is not self._first:  # an emptied box asks for the lesson's data
            self.back()
            self._changed()

    def _on_upload(self) -> None:
        files = {file["name"]: bytes(file["content"]) for file in self.upload_button.value}
        self._owner.set_quietly(self.upload_button, value=())  # so that the same file can be uploaded again, changed
        self._owner.set_quietly(self.path_box, value="")
        if files:
            self.use(files)


def _option_boxes() -> dict[str, Any]:
    """An empty box or menu for each option of `read_dataset` that a file may need; empty leaves it to the rules."""
    typed = {
        name: widgets.Text(description=name, placeholder=shown, continuous_update=False, **wide(80, 300))
        for name, shown in _TYPED.items()
    }
    return typed | {name: menu(name, choices, "", **wide(80, 200)) for name, choices in _MENUS.items()}


def _value(name: str, text: str) -> Any:
    """An option as it is typed: numbers are numbers, "none" says that there is none, "8 x 8" is a pair."""
    if name in _MENUS:
        return text
    if text.strip().lower() == "none":
        return False if name == "label" else None
    words = map(str.strip, text.split("x" if name == "shape" else ","))
    parts = [int(word) if word.isdecimal() else word for word in words]
    if name in ("shape", "drop"):
        return tuple(parts)
    if name == "label":
        return parts[0] if len(parts) == 1 else text.strip()
    try:
        return float(text)
    except ValueError:
        return text.strip()


def fitted(sizes: Sequence[int] | None, task: Task) -> tuple[int, ...] | None:
    """Sizes of a base model with as many inputs as the task has; None stays None."""
    return None if sizes is None else (task.n_inputs, *sizes[1:])
