"""Widgets for the lessons: controls wired to plain functions, pictures drawn by `metarules.plots`."""

from metarules._arguments import guard as _guard
from metarules._work import Stopped as Stopped
from metarules.studies.moons import teach_moons as teach_moons
from metarules.studies.trajectory import Exploration as Exploration
from metarules.studies.trajectory import explore as explore
from metarules.widgets.backward_weights import BackwardWeights as BackwardWeights
from metarules.widgets.base import Explorable as Explorable
from metarules.widgets.draw_digit import DigitPad as DigitPad
from metarules.widgets.explorer import Explorer as Explorer
from metarules.widgets.film_player import FilmPlayer as FilmPlayer
from metarules.widgets.generalisation_grid import GeneralisationGrid as GeneralisationGrid
from metarules.widgets.idea_map import IdeaMap as IdeaMap
from metarules.widgets.inner_loop import InnerLoopExplorer as InnerLoopExplorer
from metarules.widgets.layers import LayersExplorer as LayersExplorer
from metarules.widgets.meta_objective_explorer import MetaObjectiveExplorer as MetaObjectiveExplorer
from metarules.widgets.meta_training_console import MetaTrainingConsole as MetaTrainingConsole
from metarules.widgets.neuron_microscope import NeuronMicroscope as NeuronMicroscope
from metarules.widgets.own_data import OwnData as OwnData
from metarules.widgets.picture import Picture as Picture
from metarules.widgets.random_net import RandomNetExplorer as RandomNetExplorer
from metarules.widgets.rule_mixer import RuleMixer as RuleMixer
from metarules.widgets.rule_timeline import RuleTimeline as RuleTimeline
from metarules.widgets.show import show as show
from metarules.widgets.watched import kept as kept
from metarules.widgets.watched import watched as watched

_guard(__name__)
