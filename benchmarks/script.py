"""A plain script in which nobody said how many threads to use, against the same script told so, quiet and crowded."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

from metarules._threads import VARIABLES, available_cores

_SCRIPT = """
import sys, time
from metarules import learn, load_dataset, load_rule, make_task, start
rule, task = load_rule("local"), make_task(load_dataset("digits"), permute=False)
phi, how, generator = start(rule, task)
how = {"batch_size": how.batch_size, "generator": generator}
learn(rule, phi, task, steps=1, **how)
began = time.perf_counter()
learn(rule, phi, task, steps=int(sys.argv[1]), **how)
print(time.perf_counter() - began)
"""


def plain_script(steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of `learn` on the digits, 64-32-32-32, in processes of their own, the ways in turns.

    Args:
        steps: inner steps.
        rounds: times that each way is taken; the best counts.

    Returns:
        `seconds`: "quiet" and "busy" (a spinning process for each core besides) -> "nothing" or what OMP_NUM_THREADS
        says -> seconds; `of_best`: the same two -> how many times as long nothing said takes as the best number.
    """
    ways = ["nothing", *sorted({"1", str(available_cores())})]
    seconds: dict[str, dict[str, float]] = {}
    for load in ("quiet", "busy"):
        with ExitStack() as stack:
            for _ in range(available_cores() if load == "busy" else 0):
                process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                stack.callback(process.kill)  # before the context waits for its end
            taken = [(way, _seconds(way, steps)) for _ in range(rounds) for way in ways]
        seconds[load] = {way: min(s for other, s in taken if other == way) for way in ways}
    of_best = {load: found["nothing"] / min(found[way] for way in ways[1:]) for load, found in seconds.items()}
    return {"steps": steps, "seconds": seconds, "of_best": of_best}


def _seconds(way: str, steps: int) -> float:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {} if way == "nothing" else {VARIABLES[0]: way}
    words = [sys.executable, "-c", _SCRIPT, str(steps)]
    return float(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout)
