"""Memory of meta-training, measured in processes of their own: flat over a run, and bounded for a long unroll."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

FLAT = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from meta_small import trainer
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
t = trainer(meta_steps={steps}, estimator={estimator!r})
for _ in range(200):
    t.step()
before = resident()
for _ in range({steps} - 200):
    t.step()
print(before / 1000, resident() / 1000)
"""
# VmHWM, since a new process's ru_maxrss begins at the peak of the process that started it.
UNROLL = """
from dataclasses import replace
import torch
torch.set_num_threads(1)
from metarules.meta_training.estimators import backprop
from metarules.meta_training.unrolls import start_group
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks.distribution import DistributionSettings, draw_tasks
from metarules.update_rule import LocalRule
s = MetaTrainingSettings(truncation=(64, 64), horizon=(64, 64), batch_size=(200, 200), checkpoint_every={every})
g = torch.Generator().manual_seed(0)
task = draw_tasks(DistributionSettings(), None, 8, g)
group = start_group((32, 32, 32), task, s, g)
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
before = peak()
found = backprop(LocalRule(generator=g), group, s, g)
assert found.group.step == 64 and group.phi.sizes == (64, 32, 32, 32)
print(before / 1000, peak() / 1000)
"""


def megabytes(code: str) -> tuple[float, float]:
    """The two numbers a program prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    before, after = map(float, done.stdout.split())
    return before, after


@pytest.mark.parametrize(("estimator", "steps"), [("backprop", 2000), ("pes", 1000)])  # PES: slow steps
def test_memory_is_flat_over_a_thousand_meta_steps_and_more(estimator: str, steps: int):
    before, after = megabytes(FLAT.format(tests=str(Path(__file__).parent), estimator=estimator, steps=steps))
    print(f"{estimator}: {before:.0f} MB after 200 meta-steps, {after:.0f} MB after {steps}")
    assert after - before < (steps - 200) / 60


def test_a_long_unroll_with_its_insides_made_again_stays_small():
    """64 inner steps at the laptop's sizes; keeping all of them takes several times as much."""
    before, peak = megabytes(UNROLL.format(every=4))
    print(f"64 steps, insides made again every 4: {before:.0f} MB before, {peak:.0f} MB at most")
    assert peak < 2000
