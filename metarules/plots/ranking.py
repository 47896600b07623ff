"""Representations ranked by few-shot accuracy, as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from metarules.plots import style


def ranking_figure(
    scores: Mapping[str, tuple[float, float]], chance: float, highlight: Sequence[str] = (), title: str = ""
) -> Figure:
    """Bars of accuracy with twice the standard error, best on top.

    Args:
        scores: name -> (accuracy, standard error), accuracies in [0, 1].
        chance: accuracy of guessing, drawn as a line.
        highlight: names whose bars stand out.
        title: what was measured.

    Returns:
        The Figure, 9.2 inches wide.

    Raises:
        ValueError: no scores, or a highlighted name that is not among them.
    """
    if not scores:
        raise ValueError("scores is empty; allowed: at least one name")
    unknown = sorted(set(highlight) - set(scores))
    if unknown:
        raise ValueError(f"highlight names {', '.join(unknown)}; allowed: {', '.join(scores)}")
    ranked = sorted(scores.items(), key=lambda item: item[1][0])
    height = 0.9 + 0.34 * len(ranked)
    figure = style.new_figure(9.2, height)
    axes = style.axes_at(figure, 2.9, 0.55, 6.0, height - 0.95)
    style.quiet_axes(axes, "few-shot accuracy (bars: two standard errors)")
    colours = [style.FORWARD if name in highlight else style.FAINT for name, _ in ranked]
    values = [accuracy for _, (accuracy, _) in ranked]
    axes.barh(range(len(ranked)), values, color=colours, height=0.68)
    axes.errorbar(
        values, range(len(ranked)), xerr=[2 * e for _, (_, e) in ranked], fmt="none", ecolor=style.INK, capsize=2
    )
    for i, (_, (accuracy, error)) in enumerate(ranked):
        axes.text(accuracy + 2 * error + 0.012, i, f"{accuracy:.2f}", va="center", fontsize=style.TEXT, color=style.INK)
    axes.axvline(chance, color=style.MUTED, linewidth=1, linestyle="--")
    axes.text(chance + 0.008, -0.62, "chance", fontsize=style.SMALL, color=style.MUTED, va="center")
    axes.set(xlim=(0, 1.06), ylim=(-0.85, len(ranked) - 0.4))
    axes.set_yticks(range(len(ranked)), [name for name, _ in ranked], fontsize=style.TEXT, color=style.INK)
    axes.grid(False, axis="y")
    style.put_text(figure, 0.1, height - 0.1, title, size=style.TITLE, weight="bold", va="top")
    return figure
