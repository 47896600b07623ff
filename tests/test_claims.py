"""The table of claims: eight rows, verdicts that follow the numbers; text and a VAE's curve behind two of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metarules.plots.generalisation import bars_figure, curves_figure, losses_figure
from metarules.studies.claims import NOT, PARTLY, REPRODUCED, brief_markdown, claims, claims_markdown
from metarules.studies.generalisation import recorded_grid
from metarules.studies.vae_curve import follow_vae, recorded_vae
from metarules.tasks import load_dataset

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MOONS = {"inputs": 0.81, "untaught": 0.8, "taught": 0.94}


def test_all_eight_are_there_and_verdicts_follow_the_numbers():
    found = claims((0.3, 0.3), MOONS, (3.0, 20.0))
    assert [claim.letter for claim in found] == list("abcdefgh")
    assert {claim.verdict for claim in found} <= {REPRODUCED, PARTLY, NOT}
    text = claims_markdown(found)
    assert text.count("\n") == 9 and all(line.count("|") == 7 for line in text.splitlines()) and "nan" not in text
    assert found[6].verdict == NOT and claims((0.1, 0.6), MOONS, (3.0, 20.0))[6].verdict == PARTLY
    assert found[7].verdict == REPRODUCED and claims((0, 0), {**MOONS, "taught": 0.7}, (3.0, 20.0))[7].verdict == PARTLY
    rows = recorded_grid()
    worse = [replace(r, accuracy=0.05) if r.method == "local" and r.steps == 100 else r for r in rows]
    assert claims((0, 0), MOONS, (3, 20), worse)[0].verdict == NOT
    vae = {k: v.copy() for k, v in recorded_vae().items()}
    for curve in vae.values():
        curve[:, 1], curve[:, 2] = -np.arange(len(curve)), np.linspace(0.9, 0.5, len(curve))
    assert claims((0, 0), MOONS, (3, 20), vae=vae)[1].verdict == REPRODUCED
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for claim in found[:6]:  # of recorded numbers alone; tools/claims.py measures the other two
        assert f"## ({claim.letter}) {claim.verdict}" in page and claim.ours in page, (
            "python tools/claims.py makes it anew"
        )
    readme = README.read_text(encoding="utf-8")
    assert all(line in readme for line in brief_markdown(found[:6]).splitlines())
    assert re.findall(r"## \((.)\) (.+)", page) == re.findall(r"\| \(([a-h])\) .+ \| (.+) \|", readme)
    with pytest.raises(ValueError, match="recorded grid has no row"):
        claims((0, 0), MOONS, (3, 20), [r for r in rows if r.method != "vae"])


def test_a_vae_is_read_while_it_trains():
    data = load_dataset("handwriting", n=300, split="validation")
    (one, two) = follow_vae(data, (5, 60), hidden=(16, 8))
    assert (one[0], two[0]) == (5, 60) and two[1] < one[1] and 0.1 < two[2] < 1
    losses_figure({"a": np.array([one, two])}).canvas.draw()


def test_pictures_of_one_group_and_of_one_panel():
    bars_figure({"a": {"rule": (0.5, 0.01)}, "b": {"rule": (0.6, 0.01), "other": (0.4, 0.0)}}, "t", 0.1).canvas.draw()
    figure = curves_figure({"p": ("x", {"rule": ([0, 1, 10], [0.1, 0.2, 0.3], [0.0, 0.0, 0.0])})})
    assert any("rule" in text.get_text() for text in figure.texts)


def test_docstrings_are_the_same_again_and_know_no_package_by_name():
    one, two = (load_dataset("docstrings", n=200, words=50, seed=3) for _ in range(2))
    assert (one.x == two.x).all() and (one.y == two.y).all() and one.x.shape[1] == 50
    assert set(one.x.unique().tolist()) == {0.0, 1.0} and one.n_classes >= 5
    assert (load_dataset("docstrings", n=200, words=50, seed=4).x != one.x).any()
    shares = one.x.mean(0)
    assert shares[0] >= shares[-1] and shares[0] < 1
    with pytest.raises(ValueError, match="words is 3"):
        load_dataset("docstrings", words=3)
