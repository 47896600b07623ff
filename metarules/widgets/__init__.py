"""Widgets for the lessons: controls wired to plain functions, pictures drawn by `metarules.plots`."""

from metarules.widgets.base import Explorable as Explorable
from metarules.widgets.inner_loop import InnerLoopExplorer as InnerLoopExplorer
from metarules.widgets.inner_loop_core import Exploration as Exploration
from metarules.widgets.inner_loop_core import explore as explore
from metarules.widgets.picture import Picture as Picture
from metarules.widgets.quick_probe import quick_accuracy as quick_accuracy
from metarules.widgets.show import show as show
from metarules.widgets.work import Stopped as Stopped
