"""Runs of several seeds: read, kept small, refused where they differ in more than the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metarules.pretrained import save_rule
from metarules.studies.seeds import keep_seeds, main, read_seeds, recorded_seeds
from metarules.update_rule import LocalRule, LocalRuleSettings

HEADER = "meta_step,minutes,meta_loss,gradient_norm,learning_rate,skipped,glyphs,decoders\n"


def a_run(folder: Path, seed: int, channels: int = 4) -> Path:
    rule, g = (
        LocalRule(LocalRuleSettings(channels=channels, signals=2, readouts=1)),
        torch.Generator().manual_seed(seed),
    )
    with torch.no_grad():
        for p in rule.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    save_rule(rule, folder / "rule.safetensors", {"meta_steps": 3, "seed": seed})
    lines = ["0,0,nan,,,0,0.5,0.25", "1,1,1.5,1,1,0,,", f"2,1,1.4,1,1,0,0.7,0.{seed}", "3,1,1.3,1,1,0,0.6,0.3"]
    (folder / "log.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return folder


def test_runs_are_kept_small_and_come_back(tmp_path: Path):
    folders = [a_run(tmp_path / f"run{seed}", seed) for seed in (5, 3, 4)]
    kept = keep_seeds(folders, tmp_path / "seeds")
    again = recorded_seeds(tmp_path / "seeds")
    assert list(kept) == list(again) == ["seed 3", "seed 4", "seed 5"]
    for name, seed in zip(again, (3, 4, 5), strict=True):
        assert again[name].accuracy == kept[name].accuracy == pytest.approx((0.7 + seed / 10) / 2)
        assert again[name].log["meta_step"] == [0, 2, 3]  # the line without a validation is gone
        for one, other in zip(again[name].rule.parameters(), kept[name].rule.parameters(), strict=True):
            assert torch.equal(one, other)
    keep_seeds(folders[:1], tmp_path / "seeds")  # in their place
    assert list(recorded_seeds(tmp_path / "seeds")) == ["seed 5"]
    assert recorded_seeds(tmp_path / "nowhere") == {}


def test_runs_that_cannot_stand_side_by_side(tmp_path: Path):
    one, same, other = a_run(tmp_path / "one", 1), a_run(tmp_path / "same", 1), a_run(tmp_path / "other", 2, channels=6)
    with pytest.raises(ValueError, match="same has seed 1, as another; allowed: runs of different seeds"):
        keep_seeds([one, same], tmp_path / "seeds")
    with pytest.raises(ValueError, match="other has a rule of other settings"):
        keep_seeds([one, other], tmp_path / "seeds")
    assert not (tmp_path / "seeds").exists()
    with pytest.raises(OSError):
        read_seeds([tmp_path / "none"])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    found: list[list[Path]] = []
    keep = keep_seeds
    into = tmp_path / "seeds"
    monkeypatch.setattr("metarules.studies.seeds.keep_seeds", lambda runs: (found.append(runs), keep(runs, into))[1])
    main([str(a_run(tmp_path / "one", 1)), str(a_run(tmp_path / "two", 2))])
    assert capsys.readouterr().out.splitlines() == [
        "kept seed 1: held-out accuracy 0.450, meta-step 3",
        "kept seed 2: held-out accuracy 0.450, meta-step 3",
    ]
    assert len(found[0]) == 2


def test_those_of_the_package_are_whole():
    for name, run in recorded_seeds().items():
        assert name == f"seed {run.seed}" and 0.3 < run.accuracy < 1
