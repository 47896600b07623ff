"""Runs of `LiveTraining` kept as small files: one to look at, and a table of how far several seeds came.

    python -m metarules.studies.live_record --seeds 0 1 2 --seconds 60

writes the table and the first seed's run into `metarules/studies/recorded`; four and a half minutes of one core.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarules._files import csv_text, read_csv, read_text, write_atomically
from metarules.evaluation.held_out import Judge, JudgeSettings
from metarules.studies.live_training import STARTS, LiveRun, LiveSettings, LiveTraining, Thumb

FOLDER = Path(__file__).parent / "recorded"
RUN, TABLE = FOLDER / "live_run.json", FOLDER / "live_table.csv"
KEPT = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 120)  # meta-steps whose particles are kept, and the last
# ours: other tasks than the curve's, and more steps, for the table's start and end
FINAL = JudgeSettings(tasks=8, wide=(), steps=60, batch_size=100, seed=30_000)
_SCALE = 120.0  # a thumb's coordinates as whole numbers of one byte


def save_run(run: LiveRun, path: Path) -> Path:
    """Write a run as JSON, with the particles of the meta-steps in `KEPT` alone.

    Raises:
        OSError: the file cannot be written.
    """
    at = [i for i, step in enumerate(run.steps) if step in KEPT or step == run.steps[-1]]
    facts = {
        "settings": asdict(run.settings),
        "loss": [round(value, 4) for value in run.loss],
        "norm": [round(value, 4) for value in run.norm],
        "clip": run.clip,
        "judged": run.judged,
        "held_out": {kind: np.round(found, 4).tolist() for kind, found in run.held_out.items()},
        "steps": [run.steps[i] for i in at],
        "looks": [[_packed(thumb) for thumb in run.looks[i]] for i in at],
    }
    write_atomically(path, (json.dumps(facts) + "\n").encode())
    return path


def load_run(path: Path = RUN) -> LiveRun:
    """Read what `save_run` wrote; the recorded run by default.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds no run.
    """
    try:
        facts = json.loads(read_text(path))
        return LiveRun(
            LiveSettings(**facts["settings"]),
            tuple(facts["loss"]),
            tuple(facts["norm"]),
            float(facts["clip"]),
            tuple(facts["judged"]),
            {kind: tuple(map(tuple, found)) for kind, found in facts["held_out"].items()},
            tuple(facts["steps"]),
            tuple(tuple(_unpacked(thumb) for thumb in look) for look in facts["looks"]),
            ended=True,
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} holds no recorded run ({error}); allowed: a file that save_run wrote") from error


def load_table(path: Path = TABLE) -> list[dict[str, Any]]:
    """The recorded table, a row for each start and seed: numbers by column, the start a text.

    Raises:
        FileNotFoundError: no such file.
    """
    return [{name: text if name == "start" else float(text) for name, text in row.items()} for row in read_csv(path)]


def _packed(thumb: Thumb) -> dict[str, Any]:
    points = np.round(thumb.points * _SCALE).astype(np.int8)
    return {
        "points": base64.b64encode(points.tobytes()).decode(),
        "labels": base64.b64encode(thumb.labels.astype(np.int8).tobytes()).decode(),
        "age": thumb.age,
        "horizon": thumb.horizon,
        "accuracy": round(thumb.accuracy, 4),
    }


def _unpacked(facts: dict[str, Any]) -> Thumb:
    points, labels = (np.frombuffer(base64.b64decode(facts[name]), dtype=np.int8) for name in ("points", "labels"))
    xy = points.reshape(-1, 2).astype(np.float64) / _SCALE
    return Thumb(xy, labels.astype(np.int64), int(facts["age"]), int(facts["horizon"]), float(facts["accuracy"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU time for each run, its judging included")
    parser.add_argument("--starts", nargs="+", default=list(STARTS)[:1], choices=list(STARTS))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for live_table.csv and live_run.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for start in options.starts:
        for seed in options.seeds:
            live, row = _measured(LiveSettings(start=start, seed=seed), options.seconds)
            rows.append(row)
            print(row, flush=True)
            if len(rows) == 1:
                save_run(live.so_far(), options.out / RUN.name)
            write_atomically(options.out / TABLE.name, csv_text(rows).encode())
    return 0


def _measured(settings: LiveSettings, seconds: float) -> tuple[LiveTraining, dict[str, Any]]:
    """A run that ends after so much CPU time, and how far it came, judged on tasks of its own."""
    began = time.process_time()
    live = LiveTraining(settings)
    first = live.rule()
    while not live.over and time.process_time() - began < seconds:
        live.advance()
    used, judge = time.process_time() - began, Judge(settings.plan().data, FINAL)
    before, after = (torch.cat(list(judge(rule).values())) for rule in (first, live.rule()))
    gain = after - before
    error = float(gain.std() / len(gain) ** 0.5)
    return live, {
        "start": settings.start,
        "seed": settings.seed,
        "meta_steps": live.number,
        "cpu_seconds": round(used, 1),
        "accuracy_at_start": round(float(before.mean()), 4),
        "accuracy_at_end": round(float(after.mean()), 4),
        "gain": round(float(gain.mean()), 4),
        "standard_error": round(error, 4),
        "standard_errors": round(float(gain.mean()) / error, 1) if error else math.inf,
    }


if __name__ == "__main__":
    sys.exit(main())
