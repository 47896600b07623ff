"""The demo preset keeps its promise: minutes of meta-training, seen on held-out tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from meta_small import changed

from metarules._threads import available_cores
from metarules.meta_training import Judge, JudgeSettings, Workers, preset, run
from metarules.pretrained import load_rule
from metarules.tasks.distribution import DistributionSettings


@pytest.mark.slow
def test_the_demo_raises_validation_by_more_than_three_standard_errors(tmp_path: Path):
    """On more tasks than its own log has, each with the same base model, batches and labels before and after."""
    workers = Workers(min(2, available_cores()))
    out = tmp_path / "demo"
    after = run(out, changed(preset("demo"), train={"seed": 3}), workers=workers)
    before = out / "snapshots" / "000000.safetensors"
    judge = Judge(DistributionSettings(), JudgeSettings(tasks=24, batch_size=100, wide=()), workers=workers)
    scores = [torch.cat(list(judge(load_rule(path)).values())) for path in (before, after)]
    gain = scores[1] - scores[0]
    assert gain.mean() > 3 * gain.std(correction=1) / len(gain) ** 0.5
