"""Checkpoints: a run goes on bit for bit, what is damaged or foreign is refused, and a good one is never lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from meta_small import DISTRIBUTION, PLAN, RULE, fingerprint, same, trainer
from torch import Tensor

from metarules.meta_training import MetaTrainer, run
from metarules.meta_training.checkpoint import _digest, load_checkpoint, previous, save_checkpoint
from metarules.meta_training.settings import ESTIMATOR_NAMES
from metarules.pretrained import save_rule
from metarules.update_rule import LocalRule

HalfWay = tuple[Path, dict[str, Tensor], dict[str, Tensor]]


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory) -> HalfWay:
    """A checkpoint after three steps, the trainer's state there, and its state three steps later."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.safetensors"
    t = trainer()
    for _ in range(3):
        t.step()
    save_checkpoint(t, path)
    there = fingerprint(t)
    for _ in range(3):
        t.step()
    return path, there, fingerprint(t)


@pytest.fixture(scope="module")
def stepped() -> MetaTrainer:
    """A trainer for refusals, which leave it as it is."""
    t = trainer()
    t.step()
    return t


def refused(path: Path, message: str, t: MetaTrainer) -> None:
    """The checkpoint is refused with that message, and the trainer stays as it was."""
    before = fingerprint(t)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(t, path)
    assert same(fingerprint(t), before)


# ---------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("estimator", ESTIMATOR_NAMES)
@pytest.mark.parametrize("steps", [3, 4])
def test_every_estimator_is_resumed_bit_for_bit(estimator: str, steps: int, tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    t = trainer(estimator=estimator, horizon=(6, 9))
    for _ in range(steps):
        t.step()
    save_checkpoint(t, path)
    if estimator == "pes":
        assert any(group.opposite is not None for group in t.groups.values())
    again = trainer(estimator=estimator, horizon=(6, 9))
    load_checkpoint(again, path)
    for _ in range(6):
        t.step()
        again.step()
        assert same(fingerprint(t), fingerprint(again))


def test_a_resumed_trainer_goes_on_bit_for_bit(half_way: HalfWay):
    path, there, end = half_way
    content = path.read_bytes()
    t = trainer()
    t.step()  # wherever it was before
    load_checkpoint(t, path)
    assert same(fingerprint(t), there)
    assert t.groups[0].phi.nonlinearity == "relu"
    for _ in range(3):
        t.step()
    assert same(fingerprint(t), end)
    assert path.read_bytes() == content  # nothing in the trainer is tied to the file


def test_a_checkpoint_before_the_first_step(tmp_path: Path):
    t = trainer()
    save_checkpoint(t, tmp_path / "c.safetensors")
    other = trainer()
    for _ in range(2):
        other.step()
    load_checkpoint(other, tmp_path / "c.safetensors")
    t.step(), other.step()
    assert same(fingerprint(t), fingerprint(other))


def test_the_checkpoint_before_is_kept(tmp_path: Path):
    path, t, states = tmp_path / "c.safetensors", trainer(), []
    for _ in range(3):
        t.step()
        save_checkpoint(t, path)
        states.append(fingerprint(t))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.safetensors", "c_previous.safetensors"]
    for where, wanted in ((path, states[-1]), (previous(path), states[-2])):
        load_checkpoint(t, where)
        assert same(fingerprint(t), wanted)


# ---------------------------------------------------------------------------------------------- damage


def test_truncated_checkpoints_are_refused(half_way: HalfWay, stepped: MetaTrainer, tmp_path: Path):
    whole, path = half_way[0].read_bytes(), tmp_path / "c.safetensors"
    for length in (0, 5, 8, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, r"c\.safetensors is truncated, damaged or no checkpoint of this package", stepped)


def test_a_flipped_bit_anywhere_is_noticed(half_way: HalfWay, stepped: MetaTrainer, tmp_path: Path):
    whole, path = half_way[0].read_bytes(), tmp_path / "c.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    padding = len(whole[:header]) - len(whole[:header].rstrip())
    places = [*range(0, header - padding, 37), *range(header, len(whole), max(1, (len(whole) - header) // 60))]
    for place in places:
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << place % 8
        path.write_bytes(spoilt)
        refused(path, r"c\.safetensors (is truncated, damaged|lacks a part)", stepped)
    path.write_bytes(whole)
    load_checkpoint(trainer(), path)


def spoil(half_way: HalfWay, path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> Path:
    """Write the good checkpoint anew with `change` applied to its facts and tensors, and a digest that fits."""
    with safetensors.safe_open(half_way[0], framework="pt") as file:
        facts = json.loads(file.metadata()["metarules"].partition(" ")[2])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(facts, tensors)
    text = json.dumps(facts)
    path.write_bytes(safetensors.torch.save(tensors, {"metarules": f"{_digest(tensors, text)} {text}"}))
    return path


PART = r"c\.safetensors lacks a part or holds a wrong one \(.*{}.*\); allowed: an unaltered file"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts, tensors: facts.update(format=1), r"c\.safetensors has format 1; allowed: 3"),
        (lambda facts, tensors: facts.pop("format"), r"c\.safetensors has format None; allowed: 3"),
        (lambda facts, tensors: facts.pop("settings"), "belongs to a run with other settings"),
        (lambda facts, tensors: tensors.pop("theta/log_lr"), PART.format("theta/log_lr")),
        (lambda facts, tensors: tensors.pop("average/log_lr"), PART.format("average/log_lr")),
        (
            lambda facts, tensors: tensors.update({"theta/log_lr": torch.zeros(2)}),
            PART.format("theta/log_lr has shape"),
        ),
        (lambda facts, tensors: tensors.pop("group1/phi/W1"), PART.format("group1/phi/W1")),
        (lambda facts, tensors: facts.pop("number"), PART.format("number")),
        (lambda facts, tensors: facts["groups"].pop("1"), PART.format("1")),
        (lambda facts, tensors: facts["groups"]["1"].pop("number"), PART.format("number")),
        (lambda facts, tensors: facts["groups"]["1"].update(number=7, step=None), PART.format("")),
        (lambda facts, tensors: facts.update(groups=None), PART.format("None")),
    ],
)
def test_altered_checkpoints_are_refused(
    change: Callable[..., Any], message: str, half_way: HalfWay, stepped: MetaTrainer, tmp_path: Path
):
    refused(spoil(half_way, tmp_path / "c.safetensors", change), message, stepped)


def test_an_alteration_that_changes_nothing_is_taken(half_way: HalfWay, tmp_path: Path):
    """The refusals above are for the change, not for the way it was made."""
    t = trainer()
    load_checkpoint(t, spoil(half_way, tmp_path / "c.safetensors", lambda facts, tensors: None))
    assert same(fingerprint(t), half_way[1])


def test_foreign_files_are_no_checkpoints(stepped: MetaTrainer, tmp_path: Path):
    path = tmp_path / "c.safetensors"
    save_rule(LocalRule(RULE), path)
    refused(path, "no checkpoint of this package", stepped)
    for metadata in (None, {"metarules": "[1]"}, {"metarules": "0 [1]"}):
        path.write_bytes(safetensors.torch.save({"x": torch.zeros(2)}, metadata))
        refused(path, "no checkpoint of this package", stepped)
    torch.save({"x": 1}, path)
    refused(path, "no checkpoint of this package", stepped)
    with pytest.raises(FileNotFoundError, match=r"path is 'gone\.safetensors', and there is no such checkpoint"):
        load_checkpoint(stepped, tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"seed": 1}, "meta_training.seed is 0 there and 1 here"),
        ({"clip": 2.0}, "meta_training.clip is 1.0 there and 2.0 here"),
        ({"usual_net": (5, 3)}, r"meta_training.usual_net is \[5, 4\] there and \[5, 3\] here"),
        ({"distribution": replace(DISTRIBUTION, clusters=2)}, "distribution.clusters is 3 there and 2 here"),
        ({"rule": replace(RULE, channels=5)}, "rule.channels is 4 there and 5 here"),
        ({"rule": replace(RULE, term_scales={"soft": 0.0})}, r"rule.term_scales is {} there and {'soft': 0.0} here"),
    ],
)
def test_a_run_with_other_settings_is_not_resumed(changed: dict[str, Any], difference: str, half_way: HalfWay):
    message = rf"belongs to a run with other settings: {difference}.*; allowed: the same"
    refused(half_way[0], message, trainer(**changed))


# ---------------------------------------------------------------------------------------------- falling back


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a whole run of six steps, with checkpoints at 3 and 6."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(out, PLAN)
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def unpack(files: dict[str, bytes], out: Path) -> Path:
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return out


def flip(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    return bytes(content)


def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_used(finished: dict[str, bytes], tmp_path: Path):
    out, told = unpack(finished, tmp_path / "run"), []
    damaged = flip(out / "checkpoint.safetensors")
    run(out, PLAN, resume=True, say=told.append)
    assert len(told) == 1
    assert "checkpoint.safetensors is truncated, damaged" in told[0]
    assert told[0].endswith("going on from checkpoint_previous.safetensors, meta-step 3")
    assert (out / "checkpoint_damaged.safetensors").read_bytes() == damaged
    assert (out / "checkpoint.safetensors").read_bytes() == finished["checkpoint.safetensors"]
    assert (out / "checkpoint_previous.safetensors").read_bytes() == finished["checkpoint_previous.safetensors"]
    theta = [safetensors.torch.load(content) for content in ((out / "rule.safetensors").read_bytes(),)]
    assert same(theta[0], safetensors.torch.load(finished["rule.safetensors"]))


def test_a_checkpoint_lost_between_two_renames_is_not_missed(finished: dict[str, bytes], tmp_path: Path):
    out = unpack(finished, tmp_path / "run")
    (out / "checkpoint.safetensors").rename(out / "checkpoint_fresh.safetensors")
    run(out, PLAN, resume=True)
    assert (out / "checkpoint.safetensors").read_bytes() == finished["checkpoint.safetensors"]


def test_two_damaged_checkpoints_are_both_named_and_left(finished: dict[str, bytes], tmp_path: Path):
    out = unpack(finished, tmp_path / "run")
    spoilt = [flip(out / name) for name in ("checkpoint.safetensors", "checkpoint_previous.safetensors")]
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is .*; checkpoint_previous\.safetensors is "):
        run(out, PLAN, resume=True)
    names = ("checkpoint.safetensors", "checkpoint_previous.safetensors")
    assert [(out / name).read_bytes() for name in names] == spoilt
    assert not (out / "checkpoint_damaged.safetensors").exists()
    assert (out / "log.csv").read_bytes() == finished["log.csv"]


# ---------------------------------------------------------------------------------------------- full disks


def test_a_failing_disk_leaves_the_old_checkpoints(
    finished: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = unpack({name: c for name, c in finished.items() if name.startswith("checkpoint")}, tmp_path)

    def full(*args: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(trainer(), out / "checkpoint.safetensors")
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        name: content for name, content in finished.items() if name.startswith("checkpoint")
    }


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from meta_small import trainer
from metarules.meta_training.checkpoint import load_checkpoint, save_checkpoint
path = Path({path!r})
t = trainer()
t.step()
save_checkpoint(t, path)
t.step()
save_checkpoint(t, path)
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))  # as a disk that fills up half way
t.step()
try:
    save_checkpoint(t, path)
except OSError as error:
    print("refused", error.errno, sorted(p.name for p in path.parent.iterdir()))
load_checkpoint(t, path)
print(t.number)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits on the size of files")
def test_a_disk_that_fills_up_while_writing_loses_no_checkpoint(tmp_path: Path):
    code = LIMITED.format(tests=str(Path(__file__).parent), path=str(tmp_path / "c.safetensors"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["refused 27 ['c.safetensors', 'c_previous.safetensors']", "2"]
