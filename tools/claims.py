"""The paper's claims beside our numbers, as the page docs/claims.md and in short in README: python tools/claims.py

Most numbers are recorded (`metarules/studies/recorded/README.md`); filters and two moons are measured here, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from metarules import load_rule, make_task, start
from metarules._files import write_atomically, write_between_marks
from metarules.evaluation import effective_dimension, rule_features
from metarules.evaluation.grids import grid_data
from metarules.inner_loop import batches, unroll
from metarules.plots.filters import smoothness
from metarules.pretrained import shipped_run
from metarules.studies.claims import Claim, brief_markdown, claims
from metarules.studies.evolution import evolution
from metarules.studies.moons import teach_moons

ROOT = Path(__file__).resolve().parents[1]
PAGE, README = ROOT / "docs" / "claims.md", ROOT / "README.md"
MARKS = "<!-- claims: begin -->", "<!-- claims: end -->"
HEAD = """# Every claim of the paper, beside ours

Made by `python tools/claims.py`. Verdicts follow from the numbers: another rule or another recording changes them by
itself. ± is a standard error. Commands in full: `metarules/studies/recorded/README.md`.
[Lesson 9](../notebooks/09_does_it_generalise.ipynb) lets you ask the same questions of other nets and data.
"""


def main() -> None:
    """Measure, write the page, and put the short table between its marks in README."""
    torch.set_num_threads(1)
    rule, run = load_rule("local"), evolution(shipped_run("local"))
    task = make_task(grid_data("handwriting", 8), permute=False)
    filters = []
    for theta in (run.rules[0], run.rules[-1]):
        phi, how, generator = start(theta, task, sizes=(task.n_inputs, 32, 32, 32))
        taught = unroll(theta, phi, batches(task, 40, how.batch_size, generator))
        filters.append(smoothness(taught.layers[0].W.T.unflatten(-1, (8, 8)).numpy()))
    pulled = [teach_moons(rule, steps=25, frames=1, seed=seed) for seed in range(4)]
    ends = torch.tensor([[r.input_accuracy, *r.accuracies[[0, -1]].mean(1)] for r in pulled]).mean(0).tolist()
    few, many = (
        float(effective_dimension(rule_features(rule, its, sizes=(its.n_inputs, 32, 32, 32), steps=25)))
        for its in (pulled[0].task, task)
    )
    moons = dict(zip(("inputs", "untaught", "taught"), ends, strict=True))
    found = claims((filters[0], filters[1]), moons, (few, many))
    write_atomically(PAGE, page(found).encode())
    write_between_marks(README, brief_markdown(found), MARKS)


def page(found: Sequence[Claim]) -> str:
    """The claims as Markdown, a section each."""
    parts = [
        f"## ({c.letter}) {c.verdict}\n\n- **The paper:** {c.paper}.\n- **Ours:** {c.ours}.\n"
        f"- **What differs:** {c.scale}.\n- **Made by:** {c.command}\n"
        for c in found
    ]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    main()
