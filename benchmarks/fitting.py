"""What learning features costs beside what else one would pick, as examples grow: `python -m benchmarks.fitting`.

Held-out handwriting, 8 x 8. Every choice learns from the first N examples, without labels; accuracy is the few-shot
probe's on 2,000 others. Rivals have scikit-learn's own settings, and k-means triangle features as in all our tables.
Seconds are of one processor and of learning alone, the least of the runs. Rows are kept as they come, and the same
command goes on from them.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.__main__ import PAGE, ROOT
from benchmarks.child import forget_peak, peak_bytes
from benchmarks.machine import facts
from benchmarks.report import machine_line, number, table
from metarules._files import csv_text, write_atomically, write_between_marks
from metarules.evaluation import few_shot_accuracy
from metarules.evaluation.cli import one_thread
from metarules.evaluation.results import mean_and_stderr
from metarules.evaluation.rivals.clusters import triangle
from metarules.evaluation.rivals.graphs import eigenmaps
from metarules.tasks import Dataset, load_dataset

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
NETS = ((64, 32, 32, 32), (64, 128, 128, 32), (64, 128, 128, 128, 128, 32))
STEPS = (25, 100)
HELD_OUT = 2_000
RUNS, ENOUGH = 3, 5.0  # runs of a row, each from another seed, and seconds after which there is no further one
LONGEST, LARGEST = 90.0, 8e9  # seconds and bytes that a row may be expected to take
TABLE = ROOT / "benchmarks" / "fitting.csv"
PICTURE = ROOT / "figures" / "benchmarks" / "fitting.png"
MARKS = ("<!-- fitting: begin -->", "<!-- fitting: end -->")

# (examples to learn from, the others, seed) -> seconds of learning, features of the others
Choice = Callable[[np.ndarray, np.ndarray, int], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Row:
    """One choice at one number of examples; NaN where `why` says why it was not run."""

    choice: str
    examples: int
    seconds: float
    accuracy: float
    stderr: float
    megabytes: float
    why: str = ""
    machine: str = ""


def choices() -> dict[str, Choice]:
    """All, by the names of the table; the rule first."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.decomposition import PCA

    from metarules import MetaRuleTransformer

    def rule(net: tuple[int, ...], steps: int, seed: int) -> Any:
        return MetaRuleTransformer("local", net[1:-1], net[-1], n_steps=steps, random_state=seed)

    found: dict[str, Choice] = {}
    for net in NETS:
        for steps in STEPS:
            found[f"local, {steps} steps, {'-'.join(map(str, net))}"] = partial(_fitted, partial(rule, net, steps))
    found["PCA 32"] = partial(_fitted, lambda seed: PCA(32, whiten=True, random_state=seed))
    found["k-means 64"] = partial(_fitted, lambda seed: KMeans(64, random_state=seed), then=triangle)
    found["MiniBatchKMeans 64"] = partial(_fitted, lambda seed: MiniBatchKMeans(64, random_state=seed), then=triangle)
    found["eigenmaps 32"] = _together
    return found


def _fitted(
    make: Callable[[int], Any],
    known: np.ndarray,
    others: np.ndarray,
    seed: int,
    then: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> tuple[float, np.ndarray]:
    begun = time.process_time()
    model = make(seed).fit(known)
    return time.process_time() - begun, then(model.transform(others))


def _together(known: np.ndarray, others: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """Eigenmaps take no new example, so the others are among those that they learn from."""
    begun = time.process_time()
    features = eigenmaps(np.concatenate([known, others]), seed, ())
    return time.process_time() - begun, features[len(known) :]


def measured(name: str, choice: Choice, data: Dataset, n: int, held_out: int = HELD_OUT) -> Row:
    """A row: runs from one seed after another, until there are `RUNS` or they have taken `ENOUGH` seconds."""
    known, others = data.x[held_out : held_out + n].numpy(), data.x[:held_out].numpy()
    forget_peak("cpu")
    seconds: list[float] = []
    before, features = peak_bytes(), []
    while len(seconds) < RUNS and sum(seconds) < ENOUGH:
        took, made = choice(known, others, len(seconds))
        seconds.append(took)
        features.append(torch.from_numpy(np.ascontiguousarray(made, dtype=np.float64)))
    after = peak_bytes()
    megabytes = math.nan if before is None or after is None else (after - before) / 1e6
    accuracies = few_shot_accuracy(torch.stack(features), data.y[:held_out])
    return Row(name, n, min(seconds), *mean_and_stderr(accuracies), megabytes)


def expected(rows: Sequence[Row], n: int) -> tuple[float, float]:
    """Seconds and megabytes at n examples by the last two rows of a choice, growing as n at least."""
    done = [row for row in rows if not row.why]
    if not done or n <= done[-1].examples:
        return 0.0, 0.0
    last, found = done[-1], []
    for field, most in (("seconds", 3.0), ("megabytes", 2.0)):  # powers: small megabytes are noise
        power, now = 1.0, getattr(last, field)
        if len(done) > 1 and getattr(done[-2], field) > 0 < now:
            growth = math.log(last.examples / done[-2].examples)
            power = min(most, max(1.0, math.log(now / getattr(done[-2], field)) / growth))
        found.append(now * (n / last.examples) ** power)
    return found[0], found[1]


def run(
    path: Path,
    counts: Sequence[int] = COUNTS,
    asked: dict[str, Choice] | None = None,
    say: Callable[[str], None] = lambda text: None,
    held_out: int = HELD_OUT,
) -> list[Row]:
    """Measure every choice at every number of examples.

    Args:
        path: CSV, written after every row; rows that it holds are not made again.
        counts: of examples to learn from, growing.
        asked: choices by name; all, unless given.
        say: gets a line before each row.
        held_out: examples that accuracies are taken over.

    Returns:
        All rows, those of one choice after the other.
    """
    asked = choices() if asked is None else asked
    rows = read_rows(path) if path.exists() else []
    missing = [
        (name, n) for name in asked for n in counts if not any((r.choice, r.examples) == (name, n) for r in rows)
    ]
    data: Dataset | None = None  # a million images take half a minute and 7 GB: not before the first row wants them
    for name, n in missing:
        say(f"{name}, {n:,} examples")
        seconds, megabytes = expected([row for row in rows if row.choice == name], n)
        if seconds > LONGEST or 1e6 * megabytes > LARGEST:
            why = f"would take about {seconds:,.0f} s" + (
                f" and {megabytes / 1e3:,.0f} GB" if 1e6 * megabytes > LARGEST else ""
            )
            row = Row(name, n, *(math.nan,) * 4, why)
        else:
            if data is None:
                say("drawing handwriting")
                data = load_dataset("handwriting", n=held_out + max(n for _, n in missing), split="validation")
            with one_thread():
                row = measured(name, asked[name], data, n, held_out)
        rows.append(replace(row, machine=machine_line(facts())))
        write_atomically(path, csv_text([{k: _cell(v) for k, v in asdict(row).items()} for row in rows]).encode())
    return rows


def read_rows(path: Path) -> list[Row]:
    """What `run` wrote."""
    kinds: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(**{f.name: kinds[str(f.type)](line[f.name]) for f in fields(Row)}) for line in csv.DictReader(file)]


def cheaper_from(rule: Sequence[Row], rival: Sequence[Row]) -> float:
    """Examples from which on a rule learns in less time: where the two lines through log seconds cross.

    Rows that were not run count with nothing: beyond the last common one there is no crossing.

    Returns:
        0 where the rule is the cheaper one from the first row on, infinity where it never is.
    """
    theirs = {row.examples: row.seconds for row in rival if not row.why}
    common = [(row.examples, math.log(row.seconds / theirs[row.examples])) for row in rule if row.examples in theirs]
    dearer = [i for i, (_, ratio) in enumerate(common) if ratio >= 0]
    if not dearer:
        return 0.0
    if dearer[-1] == len(common) - 1:
        return math.inf
    (low, above), (high, below) = common[dearer[-1] : dearer[-1] + 2]
    return float(low * (high / low) ** (above / (above - below)))


def lines(rows: Sequence[Row]) -> str:
    """Seconds and accuracy as a table, and from how many examples on the rule is the cheaper one."""
    by = {name: [row for row in rows if row.choice == name] for name in dict.fromkeys(row.choice for row in rows)}
    counts = sorted({row.examples for row in rows})
    head = ("", *(f"N = {n:,}" for n in counts))
    cells = [
        [name, *(f"{number(r.seconds)} s, {r.accuracy:.3f}" if not r.why else "-" for r in by[name])] for name in by
    ]
    left_out = [f"{row.choice} at {row.examples:,} {row.why}" for row in rows if row.why]
    rivals = [name for name in by if not name.startswith("local")]
    rules = [name for name in by if name.startswith("local")]
    cheaper = {rival: [cheaper_from(by[name], by[rival]) for name in rules] for rival in rivals}
    tops = {rival: max(row.examples for row in by[rival] if not row.why) for rival in rivals}
    crossings = [(name, *(_from(cheaper[r][i], tops[r]) for r in rivals)) for i, name in enumerate(rules)]
    first = {rival: min(found) for rival, found in cheaper.items() if found}
    said = [f"{rival} from N = {_from(n, 0)} on" for rival, n in first.items() if 0 < n < math.inf]
    said += [f"{rival} at every N here" for rival, n in first.items() if n == 0]
    never = [f"{rival} at no N here" for rival, n in first.items() if n == math.inf]
    worst = max((row.stderr for row in rows if not row.why), default=math.nan)
    parts = [
        table(head, cells),
        f"Standard errors of accuracy are {worst:.3f} at most."
        + (f" Not run, by extrapolation: {'; '.join(left_out)}." if left_out else ""),
        table(("cheaper than .. from N = .. on", *rivals), crossings),
        f"The quickest row of the rule learns in less time than {', '.join([*said, *never])}." if first else "",
        f"Measured on {'; '.join(dict.fromkeys(row.machine for row in rows))}, one thread.",
    ]
    return "\n\n".join(part for part in parts if part)


def _from(n: float, top: int) -> str:
    """Two digits of a crossing; one that was not seen says up to which N it was looked for."""
    if n in (0.0, math.inf):
        return "always" if n == 0 else f"not up to {top:,}"
    digits = 10 ** (math.floor(math.log10(n)) - 1)
    return f"{round(n / digits) * digits:,.0f}"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitting", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--csv", type=Path, default=TABLE, help="where rows are kept; what it holds is not made again")
    parser.add_argument("--page", action="store_true", help="also put the tables into docs/speed.md")
    parser.add_argument("--plot", action="store_true", help=f"also draw {PICTURE.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    rows = run(given.csv, say=lambda text: print(f"... {text}", file=sys.stderr, flush=True))
    print(lines(rows))
    if given.page:
        write_between_marks(PAGE, lines(rows), MARKS)
    if given.plot:
        from benchmarks.picture import fitting_figure
        from metarules.plots.style import figure_to_png

        PICTURE.write_bytes(figure_to_png(fitting_figure(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
