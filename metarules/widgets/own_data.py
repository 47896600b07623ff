"""What lets a reader bring her own data to an explorer: a box for a path, a button to upload, and `use` for code."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import ipywidgets as widgets
import torch

from metarules.tasks import SUFFIXES, Dataset, Task, make_task, read_dataset, read_files, some_examples
from metarules.widgets.base import Explorable, marked

MOST = 2000  # examples an explorer learns on: about as many as there are digits, for an answer within two seconds
_HELP = """<div style="line-height: 1.4; max-width: 860px"><b>A table</b> (.csv): a row per example, numbers, and a
column of labels, called <i>label</i> or put last. <b>Arrays</b>: .npz with <i>x</i> and <i>y</i>, or .npy with
<i>..._labels.npy</i> beside it. <b>Images</b>: a folder with a sub-folder per class, or files <i>cat_1.png</i>,
<i>cat_2.png</i>, <i>dog_1.png</i>. Eleven examples of each class at least: the rule sees no labels, the probe that
measures its features does. Nothing leaves this machine. Reset brings the lesson's data back.</div>"""


class Source:
    """Data that were asked for: read when first needed, on whichever thread needs them, and then kept.

    Args:
        what: a `Task`, a `Dataset`, a path, or a mapping from the names of uploaded files to their bytes.
    """

    def __init__(self, what: Any) -> None:
        self._what = what
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
                self._whole = len(dataset)
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
        return read_files(self._what) if isinstance(self._what, Mapping) else read_dataset(self._what)


class OwnData(Explorable):
    """Base class of the explorers whose data can be changed.

    A subclass puts `data_controls` into its fold; learns, in `_recompute`, on `self.wanted.task()`, called in the work
    that it starts; calls `data_shown` with the task of what it shows whenever that changes or stays after an error;
    and calls `data_back` on Reset.

    CSS classes besides those of `Explorable`: `metarules-data`, `metarules-data-path`, `metarules-data-upload`.

    Args:
        panels: names of the panels, in reading order.
        task: the data it opens with.
    """

    def __init__(self, panels: Sequence[str], task: Task) -> None:
        super().__init__(panels)
        self._first_source = self._shown_source = self.wanted = Source(task)

    def use(self, data: Any) -> None:
        """Learn on other data, off the main thread (see `wait`); what cannot be read is answered in the status line.

        Args:
            data: a path as for `metarules.tasks.read_dataset`, a `Dataset`, a `Task`, or a mapping from file names to
                bytes. The names of classes are not shown: they are numbered in their order.
        """
        self.guarded(self._use)(data)

    @property
    def on_data(self) -> str:
        """For sentences: " on iris (150 examples, 3 classes)", or nothing while the data are those it opened with."""
        return "" if self._shown_source is self._first_source else f" on {self._shown_source.described()}"

    def shows(self, task: Task) -> bool:
        """Whether these are the data shown."""
        return self._shown_source.holds(task)

    # ---- for subclasses

    def data_controls(self) -> widgets.Widget:
        """The part of the fold where data are brought."""
        wide = {"style": {"description_width": "150px"}, "layout": widgets.Layout(flex="1 1 430px", max_width="640px")}
        path = widgets.Text(description="Your data: a path", placeholder="flowers.csv", continuous_update=False, **wide)
        self.path_box = self.control(path, "data-path", self._on_path)
        upload = widgets.FileUpload(
            accept=",".join(SUFFIXES), multiple=True, description="or upload", tooltip="A table, arrays or images"
        )
        self.upload_button = self.control(upload, "data-upload", self._on_upload)
        row = widgets.HBox([self.path_box, self.upload_button], layout=widgets.Layout(flex_flow="row wrap"))
        return marked(widgets.VBox([row, widgets.HTML(_HELP)], layout=widgets.Layout(width="100%")), "data")

    def data_shown(self, task: Task) -> None:
        """Take note of the data that are shown; what is learned next is learned on them."""
        known = (self.wanted, self._shown_source, self._first_source)
        if self._shown_source is not (found := next(source for source in known if source.holds(task))):
            self._shown_source = found
            if found is self._first_source:
                self.set_quietly(self.path_box, value="")
        self.wanted = found

    def data_back(self) -> None:
        """Ask for the data that this opened with."""
        self.wanted = self._first_source
        self.set_quietly(self.path_box, value="")

    def fitted(self, sizes: Sequence[int] | None, task: Task) -> tuple[int, ...] | None:
        """Sizes of a base model with as many inputs as the task has; None stays None."""
        return None if sizes is None else (task.n_inputs, *sizes[1:])

    def start(self, label: str, *work: Any, **more: Any) -> None:
        """As `Explorable.start`; data that are being read or learned on for the first time are named."""
        new = self.wanted is not self._shown_source and self.wanted is not self._first_source
        super().start(f"{label} on {self.wanted.name}" if new else label, *work, **more)

    def _use(self, data: Any) -> None:
        self.wanted = Source(data)
        self._recompute()

    def _recompute(self) -> None:
        """Learn anew with what the controls say, on `self.wanted`."""
        raise NotImplementedError(f"{type(self).__name__} must define _recompute")

    def _on_path(self) -> None:
        if path := self.path_box.value.strip():
            self._use(path)
        elif self._shown_source is not self._first_source:  # an emptied box asks for the lesson's data
            self.data_back()
            self._recompute()

    def _on_upload(self) -> None:
        files = {file["name"]: bytes(file["content"]) for file in self.upload_button.value}
        self.set_quietly(self.upload_button, value=())  # so that the same file can be uploaded again, changed
        self.set_quietly(self.path_box, value="")
        if files:
            self._use(files)
