"""Run every lesson from top to bottom and store its outputs, so that two runs give the same bytes.

    python tools/notebooks.py                  all of notebooks/, written back one by one, each in one piece
    python tools/notebooks.py --check          write nothing; say which stored outputs differ from fresh ones
    python tools/notebooks.py notebooks/00_start_here.ipynb

What would differ from run to run is removed: times, widget ids (renumbered in the order in which widgets were made),
versions of Python in the metadata. `--check` compares text exactly and pictures by their pixels, since another version
of matplotlib or zlib writes other bytes; text of cells marked NBVAL_IGNORE_OUTPUT is left alone, as nbval leaves it.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from metarules._files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 120  # as in start.py
MEAN_DIFFERENCE = 2.0  # of 255 grey levels, over a whole picture: text hinting differs by less, a moved curve by more
PNG = "image/png"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
PNG_START = b"\x89PNG\r\n\x1a\n"
WIDGET_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the number of lessons that failed or, with --check, are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, help="lessons; all of notebooks/ by default")
    parser.add_argument("--check", action="store_true", help="compare with what is stored, write nothing")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # the kernels inherit it; sums then come out in one order
    paths = options.paths or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not paths:
        print("notebooks/ holds no lesson yet; nothing to do")
    return sum(not refresh(path, check=options.check) for path in paths)


def refresh(path: Path, check: bool = False) -> bool:
    """Run one lesson and store it, or compare it with what is stored; says what it did, returns whether all is well."""
    stored = nbformat.read(path, as_version=4)
    try:
        fresh = execute(stored, path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"{path.name}: FAILED, file left as it was\n{error}")
        return False
    if check:
        found = list(differences(stored, fresh))
        print(f"{path.name}: {'up to date' if not found else 'out of date (make notebooks)'}")
        for line in found:
            print(f"  {line}")
        return not found
    changed = write(path, fresh)
    print(f"{path.name}: {'stored' if changed else 'unchanged'}")
    return True


def execute(notebook: Any, folder: Path) -> Any:
    """Run a copy of a notebook in a fresh kernel started in `folder`; returns it with outputs and tidy metadata.

    Raises:
        CellExecutionError, CellTimeoutError, DeadKernelError: a cell failed, took too long, or ended the kernel.
    """
    fresh = nbformat.from_dict(json.loads(json.dumps(notebook)))
    fresh.metadata.pop("widgets", None)
    client = NotebookClient(
        fresh,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=True,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return tidy(fresh)


def tidy(notebook: Any) -> Any:
    """Remove from an executed notebook all that differs between two runs of the same cells."""
    notebook.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    widgets = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    if not widgets:
        notebook.metadata.pop("widgets", None)
    ids = list(widgets)  # in the order of creation
    ids += [view for cell in notebook.cells for view in views(cell) if view not in widgets]  # closed since
    names = {old: f"{number:032x}" for number, old in enumerate(dict.fromkeys(ids))}
    text = WIDGET_ID.sub(lambda found: names.get(found[0], found[0]), json.dumps(notebook))
    return nbformat.from_dict(json.loads(text))


def views(cell: Any) -> Iterator[str]:
    """Ids of the widgets that a cell shows."""
    for output in cell.get("outputs", []):
        if WIDGET_VIEW in output.get("data", {}):
            yield output["data"][WIDGET_VIEW]["model_id"]


def write(path: Path, notebook: Any) -> bool:
    """Replace a file in one piece, so that stopping at any moment leaves the old or the new; whether it changed."""
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_atomically(path, text.encode())
    return True


def differences(stored: Any, fresh: Any) -> Iterator[str]:
    """Say, cell by cell, where stored outputs and fresh ones differ."""
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True), start=1):
        if new.cell_type != "code":
            continue
        if old.execution_count != new.execution_count:
            yield f"cell {number}: stored as run {old.execution_count}, fresh {new.execution_count}"
        loose = "NBVAL_IGNORE_OUTPUT" in new.source or "nbval-ignore-output" in new.metadata.get("tags", [])
        if not same(as_values(old.outputs), as_values(new.outputs), loose):
            yield f"cell {number}: outputs differ"
    if not same(as_values(stored.metadata.get("widgets", {})), as_values(fresh.metadata.get("widgets", {})), False):
        yield "the widgets' stored state differs"


def as_values(node: Any) -> Any:
    """Plain lists, dicts, text and numbers, with every PNG decoded to an array [height, width, channels]."""
    if isinstance(node, dict):
        return {key: as_values(value) for key, value in node.items()}
    if isinstance(node, list):
        return [as_values(value) for value in node]
    if isinstance(node, str) and node.startswith(base64.b64encode(PNG_START)[:10].decode()):
        from PIL import Image

        with Image.open(io.BytesIO(base64.b64decode(node))) as picture:
            return np.asarray(picture.convert("RGBA"), dtype=np.float64)
    return node


def same(old: Any, new: Any, loose: bool) -> bool:
    """Whether two values of `as_values` agree: pictures within MEAN_DIFFERENCE, all else exactly.

    With `loose` text may differ, but not the kinds of output or the pictures' sizes.
    """
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        if not (isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.shape == new.shape):
            return False
        return loose or bool(np.abs(old - new).mean() <= MEAN_DIFFERENCE)
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key], loose) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(same(a, b, loose) for a, b in zip(old, new, strict=True))
    return bool(old == new) or (loose and isinstance(old, str) and isinstance(new, str))


if __name__ == "__main__":
    sys.exit(main())
