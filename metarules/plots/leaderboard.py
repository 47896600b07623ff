"""The leaderboard as a picture: a line for each rule and baseline, a mark for each kind of held-out data."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from metarules.evaluation.leaderboard import Entry
from metarules.plots import style

_LOOKS = (("o", style.FORWARD), ("s", style.BACKWARD), ("^", style.OUTER), ("D", style.MUTED))
_NAMES = {"glyphs": "held-out letters"}
_ROW = 0.29  # inches


def leaderboard_figure(entries: Sequence[Entry], prizes: dict[str, Entry] | None = None) -> Figure:
    """Draw the board, best on top; your own lines in bold, baselines in grey.

    Args:
        entries: as `Leaderboard.entries` gives them.
        prizes: as `Leaderboard.prizes` gives them, written below.

    Returns:
        The Figure, 9.12 inches wide.

    Raises:
        ValueError: no entries.
    """
    if not entries:
        raise ValueError("entries is empty; allowed: one line at least, see Leaderboard.fill")
    prizes = prizes or {}
    kinds = list(entries[0].accuracies)
    rows, foot = len(entries), 0.22 * len(prizes)
    height = 1.35 + _ROW * rows + foot
    figure = style.new_figure(9.12, height)
    bottom, tall = 0.5 + foot, _ROW * rows
    axes = style.quiet_axes(style.axes_at(figure, 2.15, bottom, 4.2, tall), "few-shot accuracy on held-out data")
    low = min(min(e.means.values()) for e in entries)
    axes.set(xlim=(max(0.0, low - 0.05), 1.0), ylim=(rows - 0.5, -0.5), yticks=[])
    title = f"{rows} rules and baselines, read with ten labels per class"
    style.put_text(figure, 0.1, height - 0.09, title, size=style.TITLE, weight="bold", va="top")
    for k, (kind, (marker, colour)) in enumerate(zip(kinds, _LOOKS, strict=False)):
        axes.plot([e.means[kind] for e in entries], range(rows), marker, color=colour, markersize=7)
        key = {"o": "●", "s": "■", "^": "▲", "D": "◆"}[marker]
        words = f"{key} {_NAMES.get(kind, kind)}"
        style.put_text(figure, 2.15 + 1.45 * k, height - 0.55, words, color=colour, va="center")
    style.put_text(figure, 6.5, height - 0.55, "mean", va="center", color=style.MUTED, size=style.SMALL)
    style.put_text(figure, 6.97, height - 0.55, "numbers", va="center", color=style.MUTED, size=style.SMALL)
    heading = "signals"
    style.put_text(figure, 7.65, height - 0.55, heading, va="center", color=style.MUTED, size=style.SMALL)
    for i, e in enumerate(entries):
        y = bottom + tall - (i + 0.5) * _ROW
        colour = style.INK if e.is_rule else style.MUTED
        weight = "bold" if e.own else "normal"
        ends = sorted(e.means.values())
        axes.plot([ends[0], ends[-1]], [i, i], color=style.FAINT, linewidth=2, zorder=0)
        name = e.name if len(e.name) <= 26 else f"{e.name[:25]}…"
        style.put_text(figure, 2.05, y, name, color=colour, weight=weight, ha="right", va="center")
        style.put_text(figure, 6.5, y, f"{e.score:.2f}", color=colour, weight=weight, va="center")
        numbers = "" if e.numbers is None else f"{e.numbers:,}"
        style.put_text(figure, 7.5, y, numbers, color=colour, ha="right", va="center")
        lateral = "baseline" if e.lateral is None else ", ".join(e.lateral) or "none"
        style.put_text(figure, 7.65, y, lateral, color=colour, va="center", size=style.SMALL)
    for i, (prize, e) in enumerate(prizes.items()):
        y = 0.1 + 0.22 * (len(prizes) - 1 - i)
        style.put_text(figure, 2.15, y, f"{prize}: {e.name} ({e.score:.2f})", color=style.INK)
    return figure


def leaderboard_alt(entries: Sequence[Entry], prizes: dict[str, Entry]) -> str:
    """The picture in words: the ends of the board, and the prizes."""
    first, last = entries[0], entries[-1]
    won = "; ".join(f"{prize}: {e.name}" for prize, e in prizes.items())
    return (
        f"Leaderboard of {len(entries)} rules and baselines by few-shot accuracy on held-out data, from {first.name} "
        f"with {first.score:.2f} down to {last.name} with {last.score:.2f}. {won}."
    )
