"""Pictures as plain functions that return a matplotlib Figure (object-oriented, no pyplot), and films of them.

Every `..._figure` draws one picture; the `...Film` behind it shows any frame of a trajectory, fast enough to scrub.
"""

from metarules._arguments import guard as _guard
from metarules.plots.accuracy import AccuracyFilm as AccuracyFilm
from metarules.plots.accuracy import accuracy_figure as accuracy_figure
from metarules.plots.alignment import AlignmentFilm as AlignmentFilm
from metarules.plots.alignment import alignment_figure as alignment_figure
from metarules.plots.embedding import EmbeddingFilm as EmbeddingFilm
from metarules.plots.embedding import embedding_figure as embedding_figure
from metarules.plots.examples import EXAMPLES_ALT as EXAMPLES_ALT
from metarules.plots.examples import examples_figure as examples_figure
from metarules.plots.film import Film as Film
from metarules.plots.filters import FilterFilm as FilterFilm
from metarules.plots.filters import filter_figure as filter_figure
from metarules.plots.filters import mosaic as mosaic
from metarules.plots.gif import save_gif as save_gif
from metarules.plots.idea import IDEA_ALT as IDEA_ALT
from metarules.plots.idea import idea_alt as idea_alt
from metarules.plots.idea import idea_figure as idea_figure
from metarules.plots.moons import MoonsFilm as MoonsFilm
from metarules.plots.ranking import ranking_figure as ranking_figure
from metarules.plots.style import class_colour as class_colour
from metarules.plots.style import class_marker as class_marker
from metarules.plots.style import contrast as contrast
from metarules.plots.style import figure_to_png as figure_to_png
from metarules.studies.planes import project as project

_guard(__name__)
