"""The transformer keeps scikit-learn's contract, and its features are those of the inner loop it stands on."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from metarules import MetaRuleTransformer, estimator, load_dataset
from metarules.base_model import freeze
from metarules.estimator import Reservoir, regrouped
from metarules.evaluation import Protocol, evaluate_rule, learned_state, probe_splits
from metarules.pretrained import get_rule
from metarules.tasks import Dataset, make_task
from metarules.update_rule import LocalRule, LocalRuleSettings

SMALL: dict[str, Any] = {"hidden_layer_sizes": (12,), "n_components": 6, "n_steps": 5, "batch_size": 40}


@pytest.fixture(scope="module")
def letters() -> Dataset:
    """300 letters of 8x8 pixels in four classes."""
    return load_dataset("glyphs", n=300, n_classes=4)


@pytest.fixture(scope="module")
def X(letters: Dataset) -> np.ndarray:
    return letters.x.numpy()


@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
def test_scikit_learns_own_checks_pass():
    """All of them; the one about array libraries runs only where SCIPY_ARRAY_API is set, and asks for no support."""
    found = check_estimator(MetaRuleTransformer(hidden_layer_sizes=(8,), n_components=4, n_steps=3), on_fail=None)
    others = {check["check_name"]: str(check["exception"]) for check in found if check["status"] != "passed"}
    assert set(others) <= {"check_array_api_input"} and len(found) > 40


def test_features_are_those_of_the_inner_loop_frozen_on_all_rows(letters: Dataset, X: np.ndarray):
    model = MetaRuleTransformer("local", **SMALL, random_state=3).fit(X)
    task = make_task(letters, permute=False)
    state = learned_state(get_rule("local"), task, sizes=(64, 12, 6), steps=5, batch_size=40, seed=3)
    np.testing.assert_array_equal(model.transform(X), freeze(state, task.x)(task.x).numpy())
    assert (model.n_steps_, model.n_samples_seen_, model.n_features_in_) == (5, 300, 64)


def test_a_row_has_the_same_features_in_every_company_and_keeps_its_dtype(X: np.ndarray):
    model = MetaRuleTransformer(**SMALL, random_state=0).fit(X)
    whole = model.transform(X)
    for rows in (slice(0, 1), slice(7, 8), slice(50, 250)):
        np.testing.assert_allclose(model.transform(X[rows]), whole[rows], atol=2e-6)
    assert whole.dtype == np.float32 and model.transform(X.astype(np.float64)).dtype == np.float64
    double = MetaRuleTransformer(**SMALL, random_state=0).fit(X.astype(np.float64))
    assert double.coefs_[0].dtype == np.float64 and double.transform(X).dtype == np.float32


def test_rows_stream_from_iterators_and_files_as_from_memory(X: np.ndarray, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(estimator, "BLOCK", 64)
    np.save(tmp_path / "rows.npy", X)
    file = np.load(tmp_path / "rows.npy", mmap_mode="r")
    uneven = (X[i:j] for i, j in ((0, 1), (1, 90), (90, 95), (95, 300)))
    made = [MetaRuleTransformer(**SMALL, random_state=1).partial_fit(rows) for rows in (X, file, iter(uneven))]
    for other in made[1:]:
        np.testing.assert_allclose(other.transform(X), made[0].transform(X), atol=1e-6)
    assert [(m.n_steps_, m.n_samples_seen_) for m in made] == [(7, 300)] * 3  # 6 x 40, and the 60 that are left
    twice = made[0].partial_fit(X)
    assert (twice.n_steps_, twice.n_samples_seen_) == (14, 600)
    of_file, of_memory = (MetaRuleTransformer(**SMALL, random_state=2).fit(rows).coefs_[0] for rows in (file, X))
    np.testing.assert_array_equal(of_file, of_memory)


@given(st.lists(st.integers(1, 25), min_size=1, max_size=12), st.integers(2, 12))
@settings(max_examples=50, deadline=None)
def test_batches_hold_every_row_once_in_order_and_none_is_small(lengths: list[int], size: int):
    rows = np.arange(sum(lengths), dtype=np.float32)[:, None]
    parts = list(regrouped(np.split(rows, np.cumsum(lengths)[:-1]), size))
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    assert all(len(part) == size for part in parts[:-1]) and len(parts[-1]) < 2 * size
    assert len(rows) < size or len(parts[-1]) >= size


def test_the_sample_is_drawn_evenly_from_all_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimator, "SAMPLE", 400)
    rows = np.arange(10_000, dtype=np.float32)[:, None]
    keep = Reservoir(rows[:0], 0, seed=0)
    for batch in np.split(rows, 100):
        keep(batch)
    assert keep.seen == 10_000 and len(np.unique(keep.sample)) == 400
    quarters = np.histogram(keep.sample, 4, (0, 10_000))[0]
    assert (np.abs(quarters - 100) < 4 * 75**0.5).all()  # 4 standard deviations of a count


def test_files_and_pickles_bring_back_features_and_go_on_learning(X: np.ndarray, tmp_path: Path):
    model = MetaRuleTransformer("local", **SMALL, random_state=1).partial_fit(X[:200])
    path = model.save(tmp_path / "model.safetensors")
    for other in (MetaRuleTransformer.load(path), pickle.loads(pickle.dumps(model))):
        assert other.get_params() == model.get_params()
        np.testing.assert_array_equal(other.transform(X), model.transform(X))
        np.testing.assert_array_equal(other.partial_fit(X).coefs_[0], clone_by_file(path).partial_fit(X).coefs_[0])
    remembers = LocalRule(LocalRuleSettings(terms=("hebb", "slow"), memory=30))
    with pytest.raises(TypeError, match=r"(?s)rule is LocalRule.*which no file can hold"):
        MetaRuleTransformer(remembers, **SMALL).fit(X).save(path)
    with pytest.raises(ValueError, match=r"ending in \.safetensors"):
        model.save(tmp_path / "model.pkl")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        MetaRuleTransformer.load(path)


def clone_by_file(path: Path) -> MetaRuleTransformer:
    return MetaRuleTransformer.load(path)


def test_pipelines_searches_and_names(letters: Dataset, X: np.ndarray):
    y = letters.y.numpy()
    pipe = make_pipeline(MetaRuleTransformer(**SMALL, random_state=0), StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipe, {"metaruletransformer__n_steps": [0, 5]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    fitted = clone(pipe).fit(X, y)
    assert list(fitted[:1].get_feature_names_out()) == [f"metaruletransformer{i}" for i in range(6)]
    assert not hasattr(clone(fitted[0]), "coefs_")


def test_data_frames_go_in_and_come_out(X: np.ndarray, tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)], index=np.arange(300) * 2)
    model = MetaRuleTransformer(**SMALL, random_state=0).set_output(transform="pandas")
    out = model.fit_transform(frame)
    assert (
        list(out.columns[:2]) == ["metaruletransformer0", "metaruletransformer1"] and (out.index == frame.index).all()
    )
    again = MetaRuleTransformer.load(model.save(tmp_path / "frame.safetensors"))
    assert list(again.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        again.transform(frame.rename(columns={"pixel 0": "x"}))


def test_progress_is_shown_when_asked_for(X: np.ndarray, capsys: pytest.CaptureFixture[str]):
    MetaRuleTransformer(**SMALL).fit(X)
    assert capsys.readouterr().err == ""
    MetaRuleTransformer(**SMALL, verbose=True).fit(X)
    assert "5/5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rule": "nope"}, ValueError, "rule is 'nope'; allowed: "),
        ({"rule": "backprop"}, ValueError, "rule is 'backprop', which needs labels"),
        ({"rule": 3}, TypeError, "rule is 3; allowed: .*an UpdateRule"),
        ({"hidden_layer_sizes": (8, 0)}, ValueError, "hidden_layer_sizes, n_components is 0; allowed"),
        ({"n_components": 2.5}, TypeError, "n_components is 2.5; allowed"),
        ({"n_steps": -1}, ValueError, "n_steps is -1; allowed"),
        ({"batch_size": 1}, ValueError, "batch_size is 1; allowed"),
        ({"nonlinearity": "cubic"}, ValueError, "nonlinearity is 'cubic'; allowed"),
        ({"random_state": -1}, ValueError, "random_state is -1; allowed"),
    ],
)
def test_errors_name_the_argument_and_what_is_allowed(change: dict, error: type, message: str, X: np.ndarray):
    model = MetaRuleTransformer().set_params(**SMALL).set_params(**change)  # as a search does, past annotations
    for fit in (model.fit, model.partial_fit):
        if "n_steps" in change and fit == model.partial_fit:
            continue
        with pytest.raises(error, match=message):
            fit(X)


def test_what_cannot_be_read_is_said(X: np.ndarray):
    with pytest.raises(ValueError, match="an iterator that holds nothing"):
        MetaRuleTransformer().partial_fit(iter([]))
    with pytest.raises(NotFittedError):
        MetaRuleTransformer().transform(X)
    with pytest.raises(ValueError, match="NaN"):
        MetaRuleTransformer(**SMALL).partial_fit(iter([X, np.full((9, 64), np.nan)]))


@pytest.mark.slow
def test_a_pipeline_on_digits_reaches_the_protocols_number():
    """Features of all images, then 10 labels per class: the protocol's splits and seeds, another read-out."""
    protocol, digits = Protocol(n_splits=10), load_dataset("digits")
    X, y, splits = digits.x.numpy(), digits.y.numpy(), probe_splits(digits.y, n_splits=10)
    scores = []
    for seed in range(protocol.n_models):
        model = MetaRuleTransformer(hidden_layer_sizes=(32, 32), random_state=seed)
        pipe = make_pipeline(model, StandardScaler(), LogisticRegression(max_iter=1000))
        features = pipe[:-1].fit_transform(X)
        for labelled, rest in zip(splits.labelled.numpy(), splits.rest.numpy(), strict=True):
            scores.append(pipe[-1].fit(features[labelled], y[labelled]).score(features[rest], y[rest]))
    wanted = evaluate_rule(get_rule("local"), "local", digits, protocol).row.accuracy
    assert float(np.mean(scores)) == pytest.approx(wanted, abs=0.01)
