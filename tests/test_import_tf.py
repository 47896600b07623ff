"""The authors' theta as a rule of one's own: what is checked, where it is kept, and that it then runs everywhere."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tf_writer import write

from metarules.base_model import init_state
from metarules.classic_rules import CLASSIC_RULES
from metarules.command_line import main as command
from metarules.evaluation import cli
from metarules.pretrained import get_rule, load_rule, own_rules, rule_names, rules_folder, save_rule, shipped_rules
from metarules.pretrained.import_tf import import_rule, main, released_shapes, rule_of_checkpoint
from metarules.studies.backward_weights import backward_rule
from metarules.studies.menu import rules_beside
from metarules.studies.mix import Mix
from metarules.studies.trajectory import explore
from metarules.tasks import load_dataset, make_task
from metarules.update_rule import InnerSettings, LocalRule, PaperRule
from metarules.widgets.inner_loop import InnerLoopExplorer

REFERENCE = Path(__file__).parent / "reference"
ROOT = "MoreLocalWeightUpdateProcess"
OFFSET, STEP = f"{ROOT}/batch_norm/beta", "global_step"


@pytest.fixture(scope="module")
def released() -> dict[str, np.ndarray]:
    """The 97 variables in the released layout."""
    with np.load(REFERENCE / "default_theta.npz") as file:
        return {**{name: file[name] for name in file.files}, STEP: np.array(199_000)}


@pytest.fixture(scope="module")
def checkpoint(released: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("released") / "tf_graph_data.ckpt", released)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for one's own rules, whose name has a space and a letter beyond ASCII."""
    place = tmp_path / "eigene Regeln für λ"
    monkeypatch.setenv("METARULES_RULES", str(place))
    return place


# ---------------------------------------------------------------------------------------------- the authors' theta


def test_theta_is_the_checkpoints_bit_for_bit(checkpoint: Path, released: dict[str, np.ndarray], folder: Path):
    path = import_rule(checkpoint, "metz2018")
    assert path == folder / "metz2018.safetensors"
    rule = load_rule("metz2018")
    assert isinstance(rule, PaperRule)
    theta = rule.to_tf_variables()
    assert set(released) - set(theta) == {n for n in released if n.endswith(("moving_mean", "moving_variance", STEP))}
    for name, value in theta.items():
        assert value.numpy().tobytes() == released[name].tobytes() and tuple(value.shape) == released[name].shape
    assert rule.recommended == InnerSettings(steps=3000, batch_size=128, weight_std=0.01, bias_std=0.1)
    assert rule.settings.lr == 1e-4
    assert rule.card["tf_variables"] == 97 and rule.card["meta_steps"] == 199_000
    assert rule.card["checkpoint"] == "tf_graph_data.ckpt"  # no folders


def test_released_shapes_are_those_of_the_authors_graph(released: dict[str, np.ndarray]):
    assert released_shapes() == {name: value.shape for name, value in released.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({OFFSET: None}, rf"missing: {OFFSET} \[1, 1, 36\]"),
        ({f"{ROOT}/batch_norm/moving_mean": None, STEP: None}, r"missing: \S+/moving_mean.*missing: global_step \[\]"),
        ({f"{ROOT}/linear/w": np.zeros((64, 31), np.float32)}, r"misshapen: \S+r/w is \[64, 31\], allowed: \[64, 32\]"),
        ({f"{ROOT}/backward/w": np.zeros(3, np.float32)}, r"unexpected: \S+/backward/w \[3\]"),
        ({OFFSET: np.zeros((1, 1, 36))}, rf"{OFFSET} has dtype float64; allowed: float32"),
        ({STEP: np.array(3.0)}, r"global_step has dtype float64; allowed: int64"),
        ({OFFSET: np.full((1, 1, 36), np.nan, np.float32)}, rf"{OFFSET}'\] holds 36 NaN or infinite values"),
    ],
)  # fmt: skip
def test_other_variables_are_refused(
    change: dict[str, np.ndarray | None], message: str, released: dict[str, np.ndarray], tmp_path: Path, folder: Path
):
    changed = {name: value for name, value in {**released, **change}.items() if value is not None}
    path = write(tmp_path / "model.ckpt", changed)
    with pytest.raises(ValueError, match=rf"(?s)^model\.ckpt.*{message}"):
        import_rule(path)
    assert not folder.exists()


def test_other_parts_of_a_graph_are_passed_over(released: dict[str, np.ndarray], tmp_path: Path):
    more = {"beta1_power": np.array(0.9, np.float32), "LocalWeightUpdateWLearner/shuffle_ind": np.arange(4)}
    rule = rule_of_checkpoint(write(tmp_path / "model.ckpt", released | more))
    assert rule.card["tf_variables"] == 97


def test_a_foreign_checkpoint_is_refused_before_its_data_are_read(tmp_path: Path):
    path = write(tmp_path / "model.ckpt", {f"bert/layer_{i}": np.zeros(3) for i in range(9)} | {STEP: np.array(1)})
    path.with_name("model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(
        ValueError, match=rf"^model\.ckpt has 10 variables \(bert/layer_0, .* \.\.\), none of them in {ROOT};"
    ):
        rule_of_checkpoint(path)


# ---------------------------------------------------------------------------------------------- one's own rules


def test_the_folder_is_where_the_system_keeps_data(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("METARULES_RULES")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path.replace("~", "HOME"))
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    places = {
        "linux": "HOME/.local/share",
        "darwin": "HOME/Library/Application Support",
        "win32": "HOME/AppData/Local",
    }
    for system, place in places.items():
        monkeypatch.setattr(sys, "platform", system)
        assert rules_folder().as_posix() == f"{place}/metarules/rules"
    monkeypatch.setenv("LOCALAPPDATA", "D:/data")
    assert rules_folder().as_posix() == "D:/data/metarules/rules"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "elsewhere")
    assert rules_folder().as_posix() == "elsewhere/metarules/rules"


def test_a_rule_of_ones_own_is_found_by_name_everywhere(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert own_rules() == () and "mine" not in rule_names()
    rule = LocalRule()
    save_rule(rule, folder / "mine.safetensors", {"what": "mine", "recommended": {"steps": 2, "batch_size": 20}})
    assert own_rules() == ("mine",) and rule_names()[-1] == "mine" and "mine" not in shipped_rules()
    assert load_rule("mine").card["what"] == get_rule("mine").card["what"] == "mine"
    with pytest.raises(ValueError, match=r"a shipped name \(local.*\), one of your own \(mine\) or a file ending in"):
        load_rule("yours")
    options = ["--data", "two_moons", "--net", "2-8-8", "--splits", "2", "--seeds", "1", "--no-baselines"]
    assert cli.main(["--rule", "mine", *options]) == 0
    assert "mine" in capsys.readouterr().out


def test_names_of_the_package_win(folder: Path):
    local = load_rule("local").card
    for name in ("local", "local_start", "hebb", "mine_start"):
        save_rule(LocalRule(), folder / f"{name}.safetensors", {"what": "mine"})
    assert load_rule("local").card == get_rule("local").card == local
    assert get_rule("local_start").card.get("what") != "mine" and type(get_rule("hebb")) is CLASSIC_RULES["hebb"]
    assert get_rule("mine_start").card["what"] == "mine"  # there is no shipped rule `mine`
    assert len(set(rule_names())) == len(rule_names())


def test_a_folder_that_cannot_be_read_holds_no_rules(folder: Path):
    folder.write_text("a file")
    assert own_rules() == () and isinstance(get_rule("local"), LocalRule)


# ---------------------------------------------------------------------------------------------- lessons and tables


def test_the_imported_rule_runs_where_the_lessons_run_one(checkpoint: Path, folder: Path):
    import_rule(checkpoint)
    rule = get_rule("metz2018")
    task = make_task(load_dataset("digits"), permute=False)
    run = explore(rule, task, steps=2, frames=2)
    assert run.steps == (0, 1, 2) and run.states[-1].sizes == (64, 32, 32, 32)
    assert "Where the learned rule started" not in rules_beside(rule)  # nobody here knows
    explorer = InnerLoopExplorer("metz2018", task, steps=1)
    assert "step 1 of 1: few-shot accuracy" in explorer.status.value
    mix = Mix(learned=True, hebb=2.0, decorr=0.0, others=0.5)
    scales = mix.rule(rule).settings.term_scales
    assert scales["hebb"] == 2.0 and scales["decorr_x"] == 0.0 and scales["w_base"] == 0.5 and len(scales) == 12
    assert mix.used(rule) == {"hebb", "decorr", "others"}
    for way in ("tied", "separate"):
        other = backward_rule(way, rule)
        assert isinstance(other, PaperRule) and other.settings.backward_update == way
        assert torch.equal(other.network.convs[0].conv.weight, rule.network.convs[0].conv.weight)
    readouts = [dict(part.named_parameters()) for part in (other.forward_readout, other.backward_readout)]
    assert all(torch.equal(value, readouts[1][name]) for name, value in readouts[0].items())
    with pytest.raises(ValueError, match="top layer of 10 units; allowed: 32"):
        rule(init_state((64, 10), generator=torch.Generator()), task.x[:8])


@pytest.mark.parametrize(("recommended", "opened", "explored"), [(7, 7, 7), (50, 10, 20)])
def test_an_explorer_opens_after_as_many_steps_as_it_can(
    recommended: int, opened: int, explored: int, monkeypatch: pytest.MonkeyPatch
):
    """The authors' rule recommends more steps than an explorer shows."""
    monkeypatch.setattr("metarules.widgets.inner_loop._QUICK_STEPS", 10)
    monkeypatch.setattr("metarules.studies.trajectory.MAX_STEPS", 20)
    rule, task = get_rule("hebb"), make_task(load_dataset("two_moons", n=200), permute=False)
    rule.recommended = InnerSettings(steps=recommended, batch_size=10)
    assert InnerLoopExplorer(rule, task, sizes=(2, 4)).exploration.steps[-1] == opened
    assert explore(rule, task, sizes=(2, 4), frames=2).steps[-1] == explored


# ---------------------------------------------------------------------------------------------- the command line


def test_the_command_line(checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(checkpoint), "--name", "metz2018"]) == 0
    said = capsys.readouterr().out
    assert "read 97 variables; theta has 114,670 numbers, meta-step 199,000" in said
    assert f"wrote {folder / 'metz2018.safetensors'}" in said and 'load_rule("metz2018") loads it' in said
    assert max(map(len, said.replace(str(folder), "").splitlines())) <= 80
    first = (folder / "metz2018.safetensors").read_bytes()
    assert main([str(checkpoint.parent), "--replace"]) == 0  # the folder, the usual name
    assert (folder / "metz2018.safetensors").read_bytes() == first


@pytest.mark.parametrize("name", ["", "local", "local_start", "hebb", "a/b", "..", "ä", "x.safetensors", "taken"])
def test_names_that_no_rule_may_have(name: str, checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    save_rule(LocalRule(), folder / "taken.safetensors")
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), "--name", name])
    assert stopped.value.code == 2
    assert f"error: name is {name!r}" in capsys.readouterr().err
    assert own_rules() == ("taken",)


def test_failures_are_a_sentence(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main([str(folder / "none.ckpt")]) == 1
    assert capsys.readouterr().err.startswith("error: none.ckpt.index is not in ")

    def read_only(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("os.replace", read_only)
    assert main([str(checkpoint)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: path is '{folder}") and "(Read-only file system)" in err and "METARULES_RULES" in err


# ---------------------------------------------------------------------------------------------- damage


INDEX, DATA = ".index", ".data-00000-of-00001"


def cut(path: Path, to: int) -> None:
    path.write_bytes(path.read_bytes()[:to])


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def packed(index: Path, data: Path, under: str = "200_tf_graph/", spoil: bool = False) -> Path:
    archive = index.with_name("200_tf_graph.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in (index, data):
            file.write(path, f"{under}{path.name}")
            path.unlink()
    if spoil:
        flip(archive, archive.stat().st_size // 2)
    return archive


NAME = r"tf_graph_data\.ckpt"
# what is wrong -> (what makes it so, given the index and the data file; what is said)
DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "index cut short": (lambda index, data: cut(index, 1000), rf"{NAME}{INDEX}: its 1000 bytes do not end"),
    "data cut short": (lambda index, data: cut(data, 400_000), rf"{NAME}{DATA}: .*the file is truncated"),
    "a bit of the index": (lambda index, data: flip(index, 300), rf"{NAME}{INDEX}: "),
    "a bit of the data": (lambda index, data: flip(data, 300_000), rf"{NAME}{DATA}: .* does not fit its checksum"),
    "no index": (lambda index, data: index.unlink(), rf"{NAME}{INDEX} is not in "),
    "no data": (lambda index, data: data.unlink(), rf"{NAME}{DATA} is not in "),
    "empty index": (lambda index, data: cut(index, 0), rf"{NAME}{INDEX}: its 0 bytes do not end"),
    "empty data": (lambda index, data: cut(data, 0), rf"{NAME}{DATA}: .* of 0: the file is truncated"),
    "text": (lambda index, data: index.write_text("theta\n" * 50), rf"{NAME}{INDEX}: its 300 bytes do not end"),
    "files exchanged": (lambda index, data: data.replace(index), rf"{NAME}{INDEX}: .* do not end"),
    "archive cut short": (lambda index, data: cut(packed(index, data), 9000), r"200_tf_graph\.zip is a damaged zip"),
    "a bit of the archive": (lambda index, data: packed(index, data, spoil=True), r"\S+ in 200_tf_graph\.zip cannot"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", DAMAGE)
def test_a_damaged_checkpoint_is_a_sentence_that_names_the_file(
    wrong: str, checkpoint: Path, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
):
    """Status 1, one line, and nothing is written."""
    index, data = (Path(shutil.copy(f"{checkpoint}{ending}", tmp_path)) for ending in (INDEX, DATA))
    damage, said = DAMAGE[wrong]
    damage(index, data)
    path = next(tmp_path.glob("*.zip"), tmp_path / checkpoint.name)
    there = sorted(tmp_path.rglob("*"))
    assert command(["import-tf", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.match(f"error: {said}", err), err
    assert sorted(tmp_path.rglob("*")) == there and not folder.exists()


def test_names_in_an_archive_that_climb_out_of_it_lead_nowhere(checkpoint: Path, tmp_path: Path, folder: Path):
    """It is read where it lies: nothing is unpacked, so that only the rule is written."""
    index, data = (Path(shutil.copy(f"{checkpoint}{ending}", tmp_path)) for ending in (INDEX, DATA))
    archive = packed(index, data, under="../../")
    assert command(["import-tf", str(archive)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, folder.name}
    assert {path.name for path in folder.iterdir()} == {"metz2018.safetensors", "metz2018.json"}
    assert load_rule("metz2018").card["checkpoint"] == checkpoint.name
