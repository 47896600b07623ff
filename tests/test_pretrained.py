"""Rule files: what is saved comes back, the shipped rules load, and nothing else is ever taken for a rule."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import metarules
from metarules.base_model import init_state
from metarules.classic_rules import get_rule
from metarules.inner_loop import unroll
from metarules.pretrained import load_rule, plain, save_rule, shipped_rules
from metarules.update_rule import InnerSettings, LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

TOP = 4
LOCAL: dict[str, Any] = {"channels": 4, "signals": 2, "readouts": 1}
PAPER: dict[str, Any] = {"channels": 5, "signals": 3, "readouts": 2, "top_channels": 6, "top_units": TOP, "lr": 0.05}
SCALES: dict[str, Any] = {"term_scales": {"decorr_x": 0.5, "hebb": 0}, "input_scales": {"x": 0.25}}


def local(dtype: torch.dtype = torch.float32, **options: Any) -> LocalRule:
    return disturbed(LocalRule(LocalRuleSettings(**(LOCAL | options)), dtype=dtype))


def paper(dtype: torch.dtype = torch.float32, **options: Any) -> PaperRule:
    return disturbed(PaperRule(PaperRuleSettings(**(PAPER | options)), dtype=dtype))


def disturbed(rule: Any) -> Any:
    """Every parameter moved away from its initial value, so that only the file can bring it back."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g).to(parameter.dtype), alpha=0.1)
    return rule


def step(rule: UpdateRule) -> list[Tensor]:
    """Two inner steps of a small base model."""
    dtype = next(rule.parameters()).dtype
    g = torch.Generator().manual_seed(6)
    x = torch.rand(10, 6, generator=g).to(dtype)
    return [t for _, t in unroll(rule, init_state((6, 5, TOP), generator=g, dtype=dtype), [x, x]).tensors()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.safetensors"


# ---------------------------------------------------------------------------------------------- there and back


OLDER = {  # names in files of a `PaperRule` before both rules shared one vocabulary
    "settings": {"signals": "delta_channels", "readouts": "readout_channels"},
    "modules": {"network.": "hidden.", "top.": "top_signal.", "forward_readout.": "change_of_W.",
                "backward_readout.": "change_of_V.", ".coefficients": ".a", ".offset": ".a_0"},
}  # fmt: skip


def test_a_papers_rule_stored_under_older_names_loads(path: Path):
    rule = paper(backward_update="separate", **SCALES)
    card = json.loads(save_rule(rule, path).with_suffix(".json").read_text())
    card["settings"] = {OLDER["settings"].get(name, name): value for name, value in card["settings"].items()}
    tensors = safetensors.torch.load_file(path)
    for new, old in OLDER["modules"].items():
        tensors = {re.sub(f"^{re.escape(new)}" if new[0] != "." else f"{re.escape(new)}$", old, name): t
                   for name, t in tensors.items()}  # fmt: skip
    assert {"change_of_V.a_0", "hidden.convs.0.conv.weight", "change_of_W.readouts.rbf_top.bias"} <= set(tensors)
    safetensors.torch.save_file(tensors, path, {"metarules": json.dumps(card)})
    back = load_rule(path)
    assert back.settings == rule.settings
    assert all(torch.equal(a, b) for a, b in zip(step(back), step(rule), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("backward_update", ["identical", "separate", "fixed", "tied"])
@pytest.mark.parametrize("make", [local, paper], ids=["local", "paper"])
def test_a_rule_comes_back_as_it_was(make: Callable[..., Any], backward_update: str, dtype: torch.dtype, path: Path):
    rule = make(dtype, backward_update=backward_update, **SCALES)
    assert save_rule(rule, path) == path
    back = load_rule(path)
    assert type(back) is type(rule)
    assert plain(back.settings) == plain(rule.settings)
    assert dict(back.settings.term_scales) == SCALES["term_scales"]
    theta = dict(back.named_parameters())
    assert set(theta) == {name for name, _ in rule.named_parameters()}
    for name, parameter in rule.named_parameters():
        assert theta[name].dtype == dtype
        assert theta[name].requires_grad
        assert torch.equal(theta[name], parameter), name
    assert all(torch.equal(a, b) for a, b in zip(step(rule), step(back), strict=True))


def test_scales_set_later_are_saved_too(path: Path):
    scaled = local().with_scales(terms={"soft": 0.0}, inputs={"delta": 2.0})
    back = load_rule(save_rule(scaled, path))
    assert all(torch.equal(a, b) for a, b in zip(step(scaled), step(back), strict=True))
    assert not torch.equal(step(local())[0], step(back)[0])


def test_card_and_recommendation_survive(path: Path):
    card = {
        "what": "a test",
        "curve": [{"meta_step": 0, "accuracy": 0.5}],
        "widths": (32, 32),
        "recommended": {"steps": 7, "batch_size": 11},
    }
    save_rule(local(), path, card)
    rule = load_rule(str(path))
    assert rule.recommended == InnerSettings(steps=7, batch_size=11)
    assert rule.card["what"] == "a test"
    assert rule.card["curve"] == card["curve"]
    assert rule.card["widths"] == [32, 32]
    assert rule.card["recommended"] == plain(InnerSettings(steps=7, batch_size=11))
    assert rule.card["kind"] == "local"
    assert rule.card["settings"] == plain(LocalRuleSettings(**LOCAL))
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == rule.card


def test_a_loaded_rule_is_saved_with_its_card_and_what_is_new(path: Path, tmp_path: Path):
    save_rule(local(), path, {"what": "first", "seed": 3, "kind": "nonsense", "format": 99, "settings": None})
    rule = load_rule(path)
    rule.recommended = InnerSettings(steps=400)
    again = load_rule(save_rule(rule, tmp_path / "again.safetensors", {"what": "second"}))
    assert again.card["seed"] == 3
    assert again.card["what"] == "second"
    assert again.recommended == InnerSettings(steps=400)


def test_the_same_rule_gives_the_same_file(path: Path, tmp_path: Path):
    other = save_rule(local(), tmp_path / "deep" / "er" / "other.safetensors", {"b": 1, "a": 2})
    save_rule(local(), path, {"a": 2, "b": 1})
    assert path.read_bytes() == other.read_bytes()


def test_a_loaded_paper_rule_can_be_copied_and_pickled(path: Path):
    rule = load_rule(save_rule(paper(), path))
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert twin.card == rule.card
        assert all(torch.equal(a, b) for a, b in zip(step(rule), step(twin), strict=True))


def test_the_package_lends_its_names():
    assert metarules.load_rule is load_rule
    assert metarules.save_rule is save_rule
    assert metarules.shipped_rules is shipped_rules


# ---------------------------------------------------------------------------------------------- shipped


@pytest.mark.parametrize("name", shipped_rules())
def test_shipped_rules_load_teach_and_tell_their_story(name: str):
    rule = load_rule(name)
    assert all(torch.isfinite(p).all() for p in rule.parameters())
    # what a reader needs to judge the numbers: how it was made, how long it took, how it went, who looked at digits
    for key in ("what", "seed", "revision", "minutes", "meta_steps", "validation", "plan", "digits_reads"):
        assert key in rule.card, key
    first, *_, last = (sum(row.values()) - row["meta_step"] - row["minutes"] for row in rule.card["validation"])
    assert last > first  # over all kinds of held-out data
    assert rule.recommended == InnerSettings(**rule.card["recommended"])
    folder = Path(metarules.__file__).parent / "pretrained" / "rules"
    assert json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) == rule.card
    x = torch.rand(50, 64, generator=torch.Generator().manual_seed(0))
    phi = rule.init_extra(init_state((64, 32, 32), generator=torch.Generator().manual_seed(1)))
    unroll(rule, phi, [x] * 3).validate()


def test_a_package_without_shipped_rules_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("metarules.pretrained.storage.resources.files", lambda package: tmp_path)
    assert shipped_rules() == ()
    with pytest.raises(ValueError, match=r"name_or_path is 'local'; allowed: a shipped name \(none\) or a file ending"):
        load_rule("local")


def test_shipped_rules_are_listed_and_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("metarules.pretrained.storage.resources.files", lambda package: tmp_path)
    for name in ("beta", "alpha"):
        save_rule(local(), tmp_path / "rules" / f"{name}.safetensors", {"what": name})
    assert shipped_rules() == ("alpha", "beta")
    assert load_rule("beta").card["what"] == "beta"
    for name in ("gamma", "Alpha", "alpha.json", "", ".", "rules/alpha", "alpha.pt"):
        message = f"name_or_path is {name!r}; allowed: a shipped name (alpha, beta) or a file ending in .safetensors"
        with pytest.raises(ValueError, match=re.escape(message)):
            load_rule(name)


# ---------------------------------------------------------------------------------------------- what save_rule refuses


def test_only_rules_with_theta_of_ours_are_saved(path: Path):
    class Mine(LocalRule):
        """Another step behind the same parameters: a file could not bring it back."""

    for rule in (get_rule("hebb"), Mine()):
        with pytest.raises(TypeError, match=f"rule is a {type(rule).__name__}; allowed: LocalRule, PaperRule"):
            save_rule(rule, path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["mine.pt", "mine", "mine.safetensors.json", "mine.pkl"])
def test_other_endings_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match=f"path is '{name}'; allowed: a name ending in .safetensors"):
        save_rule(local(), tmp_path / name)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"tensor": torch.zeros(2)}, "card cannot be written as JSON (Object of type Tensor"),
        ({"when": {1, 2}}, "card cannot be written as JSON (Object of type set"),
        ({"loss": float("nan")}, "card cannot be written as JSON (Out of range float"),
        ({"loss": [1.0, float("inf")]}, "card cannot be written as JSON (Out of range float"),
        ({"a": 1, 2: 3}, "card is {'a': 1, 2: 3}; allowed: a Mapping of text"),
        ({"recommended": {"steps": -1}}, "recommended in card: steps is -1; allowed: a whole number in [0, inf]"),
        ({"recommended": {"steps": "many"}}, "recommended in card: "),
        ({"recommended": {"lr": 0.1}}, "recommended in card names 'lr'; allowed: batch_size, bias_std, steps, weight"),
        ({"recommended": 100}, "recommended in card is 100; allowed: fields of InnerSettings by name"),
    ],
)
def test_cards_that_cannot_be_kept_are_refused(card: dict[Any, Any], message: str, path: Path):
    with pytest.raises((TypeError, ValueError), match="^" + re.escape(message)):
        save_rule(local(), path, card)
    assert not path.exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_theta_that_is_not_finite_is_refused(bad: float, path: Path):
    rule = local()
    with torch.no_grad():
        rule.forward_readout.coefficients[2] = bad
    with pytest.raises(ValueError, match=r"rule has NaN or infinite numbers in forward_readout\.coefficients; allowed"):
        save_rule(rule, path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(call: str, path: Path, monkeypatch: pytest.MonkeyPatch):
    save_rule(local(), path, {"what": "old"})

    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            save_rule(local(backward_update="separate"), path, {"what": "new"})
    assert load_rule(path).card["what"] == "old"
    assert sorted(p.name for p in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]


# ---------------------------------------------------------------------------------------------- what load_rule refuses


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any way into pickle raises what no handler of ours catches."""

    def forbidden(*args: Any, **options: Any) -> None:
        raise AssertionError("a pickle was about to be loaded")

    monkeypatch.setattr(torch, "load", forbidden)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)


class Trap:
    """A pickle of this leaves a file behind when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_a_path_that_leads_nowhere(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors', which cannot be read \(No such"):
        load_rule(tmp_path / "nowhere.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.safetensors', which cannot be read \(Is a directory"):
        load_rule(tmp_path / "folder.safetensors")


@pytest.mark.usefixtures("no_pickle")
def test_truncated_files_are_refused_at_every_length(path: Path):
    whole = save_rule(local(), path).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (0, 1, 7, 8, 9, 100, header - 1, header, header + 1, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:length])
        why = "it is empty" if length == 0 else "it is truncated or not a safetensors file"
        with pytest.raises(ValueError, match=rf"mine\.safetensors cannot be read: {why}; allowed: a file by save_rule"):
            load_rule(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(ValueError, match="it is truncated or not a safetensors file"):
        load_rule(path)


def test_a_flipped_bit_of_theta_or_card_is_noticed(path: Path):
    whole = save_rule(local(), path, {"counts": {10: 1, 9: 2}}).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    card = range(whole.index(b"channels"), whole.index(b"sha256"), 97)
    for place in (*card, *range(header, len(whole), (len(whole) - header) // 60)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << place % 7  # an ASCII character becomes another one
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match=r"mine\.safetensors "):
            load_rule(path)
    path.write_bytes(whole)
    rule = load_rule(path)
    assert "sha256" not in rule.card and "sha256" not in path.with_suffix(".json").read_text()
    spoilt = bytearray(whole)
    spoilt[-1] ^= 1
    path.write_bytes(spoilt)
    said = r"mine\.safetensors is damaged: its contents do not fit their digest; allowed: an unaltered file"
    with pytest.raises(ValueError, match=said):
        load_rule(path)
    safetensors.torch.save_file(dict(rule.named_parameters()), path, {"metarules": json.dumps(rule.card)})
    assert load_rule(path).card == rule.card  # as files were before they had a digest


def test_home_is_where_the_tilde_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert save_rule(local(), "~/x.safetensors") == tmp_path / "x.safetensors"
    assert load_rule("~/x.safetensors").card["kind"] == "local" and not (tmp_path / "~").exists()


@pytest.mark.usefixtures("no_pickle")
@pytest.mark.parametrize("kind", ["torch.save", "torch.save, old", "pickle 0", "pickle 2", "pickle 5"])
def test_pickles_are_never_loaded(kind: str, path: Path):
    marker = path.parent / "executed"
    if kind.startswith("torch"):
        file = io.BytesIO()
        torch.save({"theta": Trap(marker)}, file, _use_new_zipfile_serialization=kind == "torch.save")
        path.write_bytes(file.getvalue())
    else:
        path.write_bytes(pickle.dumps(Trap(marker), protocol=int(kind[-1])))
    why = "it is truncated or not" if kind == "pickle 0" else "it is a pickle or torch.save archive, which is never lo"
    with pytest.raises(ValueError, match=rf"mine\.safetensors cannot be read: {why}"):
        load_rule(path)
    assert not marker.exists()
    path.rename(path.with_suffix(".pt"))
    with pytest.raises(ValueError, match=r"file ending in \.safetensors \(pickled files are never loaded\)"):
        load_rule(path.with_suffix(".pt"))
    assert not marker.exists()


@pytest.mark.usefixtures("no_pickle")
def test_a_good_file_is_loaded_without_pickle(path: Path):
    assert load_rule(save_rule(local(), path)).card["kind"] == "local"


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> Path:
    """Save a good rule, then let `change` spoil its card or tensors; what it returns replaces the header's metadata."""
    whole = save_rule(local(), path).read_bytes()
    tensors = safetensors.torch.load(whole)
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    metadata = change(card, tensors)
    if not isinstance(metadata, Mapping):
        metadata = {"metarules": json.dumps(card)}
    path.write_bytes(safetensors.torch.save(tensors, dict(metadata)))
    return path


def drop(key: str) -> Callable[[dict[str, Any], Any], None]:
    def change(card: dict[str, Any], _: Any) -> None:
        del card[key]

    return change


def put(key: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    def change(card: dict[str, Any], _: Any) -> None:
        part, _, inner = key.partition(".")
        if inner:
            card[part][inner] = value
        else:
            card[part] = value

    return change


def header(metadata: dict[str, str]) -> Callable[[Any, Any], dict[str, str]]:
    return lambda card, tensors: metadata


def tensor(name: str, make: Callable[[Tensor], Tensor | None]) -> Callable[[Any, dict[str, Tensor]], None]:
    def change(card: Any, tensors: dict[str, Tensor]) -> None:
        made = make(tensors.pop(name) if name in tensors else torch.zeros(2))
        if made is not None:
            tensors[name] = made

    return change


def with_nan(value: Tensor) -> Tensor:
    return value.index_put((torch.tensor([0]),), torch.tensor(float("nan")))


def all_of_dtype(dtype: torch.dtype) -> Callable[[Any, dict[str, Tensor]], None]:
    return lambda card, tensors: tensors.update({name: t.to(dtype) for name, t in tensors.items()})


SPOILT: dict[str, tuple[Callable[..., Any], str]] = {
    "no metadata": (
        header({}),
        "mine.safetensors has no rule card in its header; allowed: a file written by save_rule",
    ),
    "foreign metadata": (header({"format": "pt"}), "mine.safetensors has no rule card in its header"),
    "card is no JSON": (header({"metarules": "{not json"}), "mine.safetensors has a card that is no JSON (Expecting"),
    "card is empty": (header({"metarules": ""}), "mine.safetensors has a card that is no JSON (Expecting value"),
    "card is too deep": (header({"metarules": "[" * 100_000}), "mine.safetensors has a card that is no JSON (maximum"),
    "card is a list": (header({"metarules": "[1, 2]"}), "mine.safetensors has a card that is a list; allowed: a file"),
    "card is empty JSON": (header({"metarules": "{}"}), "mine.safetensors has format None; allowed: 1"),
    "later format": (put("format", 2), "mine.safetensors has format 2; allowed: 1"),
    "format of text": (put("format", "1"), "mine.safetensors has format '1'; allowed: 1"),
    "no kind": (drop("kind"), "kind in mine.safetensors is None; allowed: local, "),
    "unknown kind": (put("kind", "hebb"), "kind in mine.safetensors is 'hebb'; allowed: local, "),
    "kind is a list": (put("kind", ["local"]), "kind in mine.safetensors is ['local']; allowed: local, "),
    "other kind": (put("kind", "paper"), "settings in mine.safetensors names 'alike_in', 'bias', 'decorr', "),
    "no settings": (drop("settings"), "settings in mine.safetensors is None; allowed: fields of LocalRuleSettings"),
    "settings are a list": (put("settings", [1]), "settings in mine.safetensors is [1]; allowed: fields of LocalRule"),
    "unknown setting": (
        put("settings.mood", 1),
        "settings in mine.safetensors names 'mood'; allowed: alike_in, backward_update, ",
    ),
    "setting out of range": (
        put("settings.channels", 0),
        "settings in mine.safetensors: channels is 0; allowed: a whole",
    ),
    "unknown choice": (
        put("settings.backward_update", "none"),
        "settings in mine.safetensors: backward_update is 'none'; allowed: fixed, identical, separate, tied",
    ),
    "setting of text": (put("settings.channels", "4"), "settings in mine.safetensors: "),
    "unknown term": (
        put("settings.term_scales", {"luck": 1.0}),
        "settings in mine.safetensors: term_scales names 'luck'; allowed: ",
    ),
    "no recommendation": (
        drop("recommended"),
        "recommended in mine.safetensors is None; allowed: fields of InnerSettings by name",
    ),
    "unknown recommendation": (
        put("recommended.lr", 0.1),
        "recommended in mine.safetensors names 'lr'; allowed: batch_size, bias_std, steps, weight_std",
    ),
    "recommendation out of range": (
        put("recommended.batch_size", 1),
        "recommended in mine.safetensors: batch_size is 1; allowed: a whole number in [2, inf]",
    ),
    "no tensors": (lambda card, tensors: tensors.clear(), "mine.safetensors lacks the tensor "),
    "missing tensor": (tensor("log_lr", lambda t: None), "mine.safetensors lacks the tensor log_lr; allowed: all of "),
    "extra tensor": (tensor("luck", lambda t: t), "mine.safetensors names 'luck'; allowed: "),
    "misshapen tensor": (
        tensor("network.bias_1", lambda t: t[:-1].clone()),
        "mine.safetensors: network.bias_1 has shape [3] and dtype torch.float32; allowed: [4] and torch.float32",
    ),
    "mixed dtypes": (
        tensor("network.bias_1", lambda t: t.double()),
        "mine.safetensors: ",
    ),
    "whole numbers": (
        all_of_dtype(torch.int32),
        "mine.safetensors holds tensors of dtype torch.int32; allowed: torch.fl",
    ),
    "NaN": (
        tensor("network.bias_2", with_nan),
        "mine.safetensors: network.bias_2 holds NaN or infinite numbers; allowed",
    ),
    "other sizes": (put("settings.channels", 5), "mine.safetensors: "),
}


@pytest.mark.usefixtures("no_pickle")
@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_files_are_refused_with_a_reason(how: str, path: Path):
    change, message = SPOILT[how]
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        load_rule(rewrite(path, change))
