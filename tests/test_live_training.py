"""Live meta-training: it is MetaTrainer's, its held-out numbers are `validate`'s, and a recorded run comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from metarules.evaluation.held_out import held_out, validate
from metarules.meta_training import MetaTrainer
from metarules.meta_training.outer_loop import averaged_rule
from metarules.plots.live_training import HeldOutFilm, LossFilm, NormFilm, ParticlesFilm
from metarules.plots.training_tasks import training_tasks_alt, training_tasks_figure
from metarules.studies.live_record import RUN, load_run, load_table, main, save_run
from metarules.studies.live_training import JUDGE, STARTS, LiveSettings, LiveTraining
from metarules.studies.training_tasks import draw_task_pictures
from metarules.tasks.distribution import DistributionSettings

QUICK = LiveSettings(truncation="1 step", mix="letters alone", meta_steps=2)


@pytest.fixture(scope="module")
def live() -> LiveTraining:
    made = LiveTraining(QUICK)
    while not made.over:
        made.advance()
    return made


def test_it_is_metatrainers_run(live: LiveTraining):
    plan = QUICK.plan()
    trainer = MetaTrainer(plan.make_rule(), plan.train, plan.data)
    losses = [trainer.step().loss for _ in range(2)]
    assert live.so_far().loss == tuple(losses)
    mine, theirs = (parameters_to_vector(rule.parameters()) for rule in (live.rule(), averaged_rule(trainer)))
    assert torch.equal(mine, theirs)


def test_held_out_numbers_are_validates(live: LiveTraining):
    run = live.so_far()
    assert run.judged == (0, 2) and run.complete == 2 and run.ended
    task = held_out(QUICK.plan().data, JUDGE.tasks, JUDGE.seed)["glyphs"]
    again = validate(live.rule(), task, widths=JUDGE.widths, steps=JUDGE.steps, batch_size=JUDGE.batch_size)
    assert run.held_out["glyphs"][1] == tuple(again.tolist())
    pairs = np.concatenate([np.subtract(looks[1], looks[0]) for looks in run.held_out.values()])
    assert run.gain() == pytest.approx((pairs.mean(), pairs.std(ddof=1) / len(pairs) ** 0.5))
    assert run.accuracy() == pytest.approx(np.mean([looks[1] for looks in run.held_out.values()]))


def test_particles_have_ages_and_fit_the_frame(live: LiveTraining):
    run = live.so_far()
    assert run.steps == (0, 1, 2) and all(thumb.age == 0 for thumb in run.looks[0])
    assert sum(thumb.age for thumb in run.looks[-1]) == 4  # two groups have had their turn, two particles of each
    assert all(np.abs(thumb.points).max() <= 1 and 0 <= thumb.accuracy <= 1 for look in run.looks for thumb in look)


def test_a_recorded_run_comes_back(live: LiveTraining, tmp_path: Path):
    run = live.so_far()
    again = load_run(save_run(run, tmp_path / "run.json"))
    assert again.settings == run.settings and again.steps == run.steps and again.judged == run.judged
    assert again.loss == pytest.approx(run.loss, abs=1e-4)
    assert again.accuracy() == pytest.approx(run.accuracy(), abs=1e-4)
    for one, other in zip(again.looks[-1], run.looks[-1], strict=True):
        assert np.abs(one.points - other.points).max() < 0.005 and (one.labels == other.labels).all()
    (tmp_path / "other.json").write_text('{"settings": {}}')
    with pytest.raises(ValueError, match=r"other\.json holds no recorded run"):
        load_run(tmp_path / "other.json")


def test_the_shipped_record_beats_its_start_and_is_small():
    run, rows = load_run(), load_table()
    gain, error = run.gain()
    assert gain > 3 * error and run.steps[0] == 0 and run.ended and RUN.stat().st_size < 100_000
    weak = [row for row in rows if row["start"] == run.settings.start]
    assert len({row["seed"] for row in weak}) >= 3 and all(row["standard_errors"] > 3 for row in weak)
    assert all(row["cpu_seconds"] < 122 for row in rows)


def test_the_recording_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["--seeds", "1", "--seconds", "0", "--out", str(tmp_path)])
    (row,) = load_table(tmp_path / "live_table.csv")
    assert row["meta_steps"] == 0 and row["gain"] == 0 and load_run(tmp_path / "live_run.json").steps == (0,)


@pytest.mark.parametrize("start", STARTS)
def test_every_start_is_a_rule_of_the_shipped_kind(start: str):
    rule = LiveSettings(start=start).plan().make_rule()
    assert sum(p.numel() for p in rule.parameters()) > 1500


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"mix": "digits"}, "mix is 'digits'"), ({"learning_rate": 0.0}, "learning_rate"), ({"seed": -1}, "seed is -1")],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        LiveSettings(**settings)  # type: ignore[arg-type]


def test_films_show_every_frame(live: LiveTraining):
    run = live.so_far()
    for film in (LossFilm(run), HeldOutFilm(run), ParticlesFilm(run), NormFilm(run)):
        assert film.frames == 3 and len({film.png(frame) for frame in range(3)}) >= 2
        assert all(len(film.alt(frame).split()) > 6 for frame in range(3))
    assert f"{run.accuracy(0):.2f}" in HeldOutFilm(run)._corner.get_text() or HeldOutFilm(run).png(2)


def test_training_tasks_are_drawn_as_the_outer_loop_draws_them(generator: torch.Generator):
    tasks = draw_task_pictures(DistributionSettings(), generator, 4)
    assert [task.images.shape for task in tasks] == [(9, 8, 8)] * 4
    assert all(np.allclose(np.sort(task.given, None), np.sort(task.images[0], None)) for task in tasks)
    assert len(training_tasks_figure(tasks).axes) == 8 and "4 training tasks" in training_tasks_alt(tasks)
    with pytest.raises(ValueError, match="n is 0"):
        draw_task_pictures(DistributionSettings(), generator, 0)
