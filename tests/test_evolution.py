"""How a rule evolved: the table says what is in the snapshots, following is fair, and what is no run is refused."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from metarules._work import Stopped
from metarules.inner_loop import learn
from metarules.meta_training.log import is_snapshot_step
from metarules.plots.evolution import COLUMNS, ROWS, evolution_figure, evolution_filters
from metarules.plots.style import figure_to_png
from metarules.pretrained import save_rule
from metarules.studies.evolution import compare_snapshots, evolution
from metarules.tasks import Task
from metarules.update_rule import LocalRule, LocalRuleSettings

SMALL = {"channels": 4, "signals": 2, "readouts": 1}
HEADER = "meta_step,minutes,meta_loss,gradient_norm,learning_rate,skipped,glyphs,decoders\n"


def snapshot(folder: Path, meta_step: int, amount: float, **card) -> LocalRule:
    """theta = that of seed 0 plus `amount` in every number."""
    rule = LocalRule(LocalRuleSettings(**SMALL, term_scales={"hebb": 0.5}))
    with torch.no_grad():
        for p in rule.parameters():
            p.add_(amount)
    path = save_rule(rule, folder / f"{meta_step:06d}.safetensors", {"meta_steps": meta_step, **card})
    path.with_suffix(".json").unlink()
    return rule


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step, amount in ((0, 0.0), (1, 0.1), (2, 0.2), (3, 0.4)):
        known = {"validation": {"glyphs": 0.5 + amount, "decoders": 0.25}, "minutes": 2.0 * step} if step < 3 else {}
        snapshot(tmp_path / "snapshots", step, amount, **known)
    rows = ["0,0,nan,,,0,0.5,0.25", "1,1,1.5,1,1,0,,", "2,2,1.25,1,1,0,,", "3,3,1.0,1,1,0,0.875,0.125"]
    (tmp_path / "log.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return tmp_path


def task(shape: tuple[int, int] | None = (2, 3), dtype: torch.dtype = torch.float32) -> Task:
    g = torch.Generator().manual_seed(3)
    y = torch.arange(60) % 2
    x = torch.rand(60, 6, generator=g, dtype=dtype) + y.unsqueeze(-1) * torch.tensor([1.0, 0, 1, 0, 0, 0], dtype=dtype)
    return Task(x, y, 2, permutation=torch.randperm(6, generator=g), shape=shape)


def followed(run: Path, data: Task, **options):
    return compare_snapshots(
        evolution(run), data, torch.Generator().manual_seed(0),
        **{"widths": (5, 4), "steps": 3, "batch_size": 20, "labels_per_class": 5, **options},
    )  # fmt: skip


def test_the_table_says_what_the_snapshots_hold(run: Path):
    found = evolution(run)
    table = found.table
    assert found.meta_steps == (0, 1, 2, 3) and table["meta_step"] == [0, 1, 2, 3]
    assert table["theta_change"] == pytest.approx([0, 0.1, 0.2, 0.4], abs=1e-6)
    assert table["cosine_to_final"][-1] == pytest.approx(1) and np.all(np.diff(table["cosine_to_final"]) > 0)
    assert table["hebb"] == pytest.approx([0.4, 0.45, 0.5, 0.6]), "the switch is part of it"
    assert table["soft"] == pytest.approx([0.3, 0.4, 0.5, 0.7])
    assert table["lr"] == pytest.approx([0.03 * math.exp(math.tanh(a)) for a in (0, 0.1, 0.2, 0.4)])
    assert table["glyphs"] == pytest.approx([0.5, 0.6, 0.7, 0.875]), "from the cards, and the last from the log"
    assert table["decoders"] == pytest.approx([0.25, 0.25, 0.25, 0.125])
    assert found.minutes[:3] == (0, 2, 4) and math.isnan(found.minutes[3])
    assert found.log["meta_loss"][1:] == [1.5, 1.25, 1.0] and math.isnan(found.log["glyphs"][1])


def test_a_run_that_still_writes_is_read(run: Path):
    with (run / "log.csv").open("a") as file:
        file.write("4,4,0.")
    (run / "snapshots" / ".000005.safetensors.x").write_bytes(b"half")
    found = evolution(run)
    assert found.log["meta_step"] == [0, 1, 2, 3] and found.meta_steps == (0, 1, 2, 3)


def test_validation_of_another_form_is_passed_over(run: Path):
    snapshot(run / "snapshots", 2, 0.2, validation=[{"glyphs": 0.9}])
    assert math.isnan(evolution(run).table["glyphs"][2])


def test_snapshots_are_kept_at_one_two_five():
    assert [n for n in range(1200) if is_snapshot_step(n)] == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("snapshots", FileNotFoundError, "holds no snapshots; allowed"),
        ("log.csv", FileNotFoundError, r"holds no log\.csv"),
        ("snapshots/000001.safetensors", FileNotFoundError, r"lacks 000001\.safetensors; allowed: all of 0, 1, 2, 5"),
        ("snapshots/000000.safetensors", FileNotFoundError, r"lacks 000000\.safetensors"),
    ],
)
def test_what_is_missing_is_named(run: Path, name: str, error: type[Exception], says: str):
    (run / name).rename(run / "elsewhere")
    with pytest.raises(error, match=says):
        evolution(run)


@pytest.mark.parametrize("name", ["000001.json", "notes.txt", "1.safetensors", "best.safetensors"])
def test_foreign_files_are_named(run: Path, name: str):
    (run / "snapshots" / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"snapshots holds '{name}'; allowed: meta-steps such as"):
        evolution(run)


def test_a_damaged_or_foreign_snapshot_is_named(run: Path):
    path = run / "snapshots" / "000002.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"000002\.safetensors cannot be read"):
        evolution(run)
    path.write_bytes((run / "snapshots" / "000001.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"000002\.safetensors has a card of meta-step 1; allowed: 2"):
        evolution(run)
    other = LocalRule(LocalRuleSettings(**{**SMALL, "channels": 5}))
    save_rule(other, path, {"meta_steps": 2})
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=r"000002\.safetensors has other settings than the first"):
        evolution(run)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("meta_step,meta_loss,glyphs\n0,1,2\n", "lacks the column decoders; allowed"),
        (HEADER + "0,0,low,,,0,,\n", "line 2: meta_loss is 'low'; allowed"),
        ("", "lacks the column meta_step"),
    ],
)
def test_a_log_that_is_none_is_refused(run: Path, text: str, says: str):
    (run / "log.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        evolution(run)


@pytest.mark.parametrize("shape", [(2, 3), None])
def test_snapshots_are_followed_on_the_same_base_model(run: Path, shape: tuple[int, int] | None):
    data = task(shape)
    found = followed(run, data)
    assert found.features.shape == (4, 60, 4) and found.accuracy.shape == (4,) and found.meta_steps == (0, 1, 2, 3)
    assert found.filters.shape == ((4, 5, 2, 3) if shape else (4, 1, 6, 5))
    assert torch.equal(found.features, followed(run, data).features), "all chance is the generator's"
    start = followed(run, data, steps=0)
    assert torch.equal(start.filters[0], start.filters[3]), "one base model for all"
    for i in range(3):
        assert (found.filters[i] - found.filters[i + 1]).abs().max() > 1e-4, "each snapshot goes its own way"


def test_the_last_snapshot_is_followed_as_by_hand(run: Path):
    data = task()
    twice = snapshot(run / "snapshots", 3, 0.1)  # the theta of snapshot 1 once more
    found = followed(run, data)
    assert torch.equal(found.features[1], found.features[3]), "same theta, same base model, same batches"
    from metarules.base_model import InitSettings, forward, init_state

    g = torch.Generator().manual_seed(0)
    data.sample_labelled(5, g, 6)
    phi = init_state((6, 5, 4), settings=InitSettings(bias_std=0.0), generator=g)
    batches = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=g)))
    by_hand = learn(twice, phi, data, steps=3, batch_size=20, generator=batches).state
    assert torch.equal(found.features[3], forward(by_hand, data.x).features)
    assert torch.equal(found.filters[3], data.image(by_hand.layers[0].W.mT))


def test_a_snapshot_that_diverges_counts_as_chance(run: Path, monkeypatch):
    found = evolution(run)
    wild, step = found.rules[3], type(found.rules[3]).step

    def explode(self, phi, batch):
        after = step(self, phi, batch)
        return after.map(lambda t: t * float("inf")) if self is wild else after

    monkeypatch.setattr(LocalRule, "step", explode)
    seen = compare_snapshots(
        found, task(), torch.Generator().manual_seed(0), widths=(5, 4), steps=2, batch_size=20, labels_per_class=5
    )
    assert seen.diverged == (False, False, False, True) and seen.accuracy[3] == 0.5
    assert torch.isfinite(seen.features).all() and torch.isfinite(seen.filters).all()


def test_comparing_tells_how_far_it_is_and_stops(run: Path):
    stop, seen = threading.Event(), []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            stop.set()

    with pytest.raises(Stopped, match="stopped after 2 of 4 snapshots"):
        followed(run, task(), progress=progress, stop=stop)
    assert seen == [(1, 4), (2, 4)]


def test_too_few_labels_are_refused(run: Path):
    with pytest.raises(ValueError, match="per_class is 9, for 6 batches"):
        followed(run, task(), labels_per_class=9)


def test_the_picture_shows_the_table_and_the_log(run: Path):
    found = evolution(run)
    figure = evolution_figure(found)
    loss, judged, mixed = figure.axes
    place = np.log10(1 + np.arange(4))
    dots = loss.get_lines()[0]
    assert np.allclose(dots.get_xdata(), place[1:]) and np.allclose(dots.get_ydata(), [1.5, 1.25, 1.0])
    glyphs, decoders = judged.get_lines()
    assert np.allclose(glyphs.get_ydata(), found.table["glyphs"]) and np.allclose(glyphs.get_xdata(), place)
    assert np.allclose(decoders.get_ydata(), found.table["decoders"])
    drawn = [tuple(np.round(np.asarray(line.get_ydata(), float), 5)) for line in mixed.get_lines()]
    for name in ("hebb", "decorr_x", "soft", "w_base"):
        assert tuple(np.round(found.table[name], 5)) in drawn
    words = {text.get_text(): text for text in figure.texts}
    assert "soft +0.70" in words and "glyphs 0.88" in words
    heights = sorted(t.get_position()[1] * 4.3 for name, t in words.items() if "+" in name or " -" in name)
    assert len(heights) == 13 and min(np.diff(heights)) > 0.17, "labels do not run into each other"
    renderer = figure.canvas.get_renderer()
    edges = [t.get_window_extent(renderer).x1 for t in figure.texts]
    assert max(edges) < figure.bbox.x1, "nothing is cut at the right"
    assert figure_to_png(figure).startswith(b"\x89PNG")


def test_filters_are_rows_of_the_same_neurons():
    filters = np.random.default_rng(0).normal(size=(12, 20, 4, 4))
    figure = evolution_filters(filters, list(range(12)), [0.5] * 12)
    assert len(figure.axes) == ROWS * COLUMNS
    first, last = figure.axes[0].images[0].get_array(), figure.axes[-1].images[0].get_array()
    assert np.allclose(first, filters[0, 0] / np.abs(filters[0, 0]).max())
    k = COLUMNS - 1
    assert np.allclose(last, filters[11, k] / np.abs(filters[11, k]).max()), "the last snapshot is the last row"
    renderer = figure.canvas.get_renderer()
    assert max(t.get_window_extent(renderer).x1 for t in figure.texts) < figure.bbox.x1
    assert len(evolution_filters(filters[:2, :3], [0, 1]).axes) == 6


def test_filters_refuse_with_a_sentence():
    with pytest.raises(ValueError, match=r"filters has shape \[2, 3\]; allowed: \[snapshots"):
        evolution_filters(np.ones((2, 3)), [0, 1])
    with pytest.raises(ValueError, match="meta_steps has 1 entries; allowed: 2"):
        evolution_filters(np.ones((2, 3, 4, 4)), [0])
