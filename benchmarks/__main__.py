"""`python -m benchmarks`: measure what a step costs on this machine, see `--help`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks import plan
from benchmarks.measure import Options
from benchmarks.report import MARKS, main_lines, report
from metarules._files import read_text, write_between_marks
from metarules._memory import keep_memory

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "figures" / "benchmarks" / "cost.png"
PAGE = ROOT / "docs" / "speed.md"


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure, print the tables, write the JSON file and perhaps the picture and the page.

    Args:
        arguments: without the program's name; None takes the command line's.

    Returns:
        Exit status 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time inner steps and meta-gradients against the package's first version and the machine's limits, "
        "in turns, so that ratios hold on a machine that others use too. Five to ten minutes on two cores.",
    )
    parser.add_argument("--quick", action="store_true", help="the main numbers, in about two minutes")
    parser.add_argument("--plot", action="store_true", help=f"also draw {PICTURE.relative_to(ROOT)}")
    parser.add_argument("--page", action="store_true", help="also put the main lines into docs/speed.md")
    parser.add_argument("--json", type=Path, default=ROOT / "runs" / "benchmarks.json", help="where results go")
    parser.add_argument("--show", type=Path, help="measure nothing: take this JSON file's results")
    parser.add_argument("--threads", type=int, help="PyTorch's, for every case; else what metarules itself would take")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args(arguments)
    if given.threads is not None and given.threads < 1:
        parser.error(f"threads is {given.threads}; allowed: 1 or more")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"device is {given.device!r}, which this PyTorch does not find; allowed here: cpu")
    if given.show:
        try:
            results = json.loads(read_text(given.show, "--show"))
        except (OSError, ValueError) as error:
            parser.error(str(error))
    else:
        torch.set_flush_denormal(True)  # as meta-training does
        keep_memory()
        options = Options(given.device, given.threads, *((1.0, 3) if given.quick else (3.0, 3)))
        chosen = plan.quick() if given.quick else plan.full()
        results = plan.run(chosen, options, lambda text: print(f"... {text}", file=sys.stderr, flush=True))
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(report(results))
    if given.page:
        write_between_marks(PAGE, main_lines(results), MARKS)
    if given.plot:
        from benchmarks.picture import cost_figure  # matplotlib takes a second, which only this needs
        from metarules.plots.style import figure_to_png

        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_bytes(figure_to_png(cost_figure(results)))
        print(f"\nwrote {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
