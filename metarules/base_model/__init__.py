"""The network being taught: its state phi = {W, b, V}, initial values, forward pass, and frozen form."""

from metarules._arguments import guard as _guard
from metarules.base_model.batch import Batch as Batch
from metarules.base_model.forward import Activations as Activations
from metarules.base_model.forward import FrozenBaseModel as FrozenBaseModel
from metarules.base_model.forward import check_input as check_input
from metarules.base_model.forward import forward as forward
from metarules.base_model.forward import forward_unchecked as forward_unchecked
from metarules.base_model.forward import freeze as freeze
from metarules.base_model.forward import frozen as frozen
from metarules.base_model.nonlinearities import NONLINEARITIES as NONLINEARITIES
from metarules.base_model.nonlinearities import Nonlinearity as Nonlinearity
from metarules.base_model.nonlinearities import get_nonlinearity as get_nonlinearity
from metarules.base_model.state import WIDTHS as WIDTHS
from metarules.base_model.state import BaseModelState as BaseModelState
from metarules.base_model.state import InitSettings as InitSettings
from metarules.base_model.state import LayerState as LayerState
from metarules.base_model.state import init_state as init_state

_guard(__name__)
