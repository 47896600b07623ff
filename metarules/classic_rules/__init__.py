"""Hand-written rules behind the contract of `update_rule`: three Hebbian, one competitive, three that follow gradients.

rule = get_rule("hebb_decorrelation", decorr=0.8)
phi = rule.init_extra(phi, generator)  # a decoder or read-out, for the rules that carry one
phi = rule(phi, batch)
"""

# The modules that register rules come from the simplest on: menus offer the rules in that order.
from metarules._arguments import guard as _guard
from metarules.classic_rules.hebbian import Hebb as Hebb
from metarules.classic_rules.hebbian import HebbDecorrelation as HebbDecorrelation
from metarules.classic_rules.hebbian import HebbDecorrelationSettings as HebbDecorrelationSettings
from metarules.classic_rules.hebbian import HebbSettings as HebbSettings
from metarules.classic_rules.hebbian import Oja as Oja
from metarules.classic_rules.hebbian import OjaSettings as OjaSettings
from metarules.classic_rules.soft_competition import SoftCompetition as SoftCompetition
from metarules.classic_rules.soft_competition import SoftCompetitionSettings as SoftCompetitionSettings

# isort: split
from metarules.classic_rules.autoencoder import Autoencoder as Autoencoder
from metarules.classic_rules.autoencoder import AutoencoderSettings as AutoencoderSettings
from metarules.classic_rules.backward import Signals as Signals
from metarules.classic_rules.backward import backprop_gradient as backprop_gradient
from metarules.classic_rules.backward import batch_norm_backward as batch_norm_backward
from metarules.classic_rules.backward import deltas_down as deltas_down
from metarules.classic_rules.base import ClassicRule as ClassicRule
from metarules.classic_rules.base import RuleSettings as RuleSettings
from metarules.classic_rules.mixed import MixedRule as MixedRule
from metarules.classic_rules.mixed import MixedSettings as MixedSettings
from metarules.classic_rules.registry import CLASSIC_RULES as CLASSIC_RULES
from metarules.classic_rules.registry import get_rule as get_rule
from metarules.classic_rules.registry import register as register
from metarules.classic_rules.supervised import Backprop as Backprop
from metarules.classic_rules.supervised import BackpropSettings as BackpropSettings
from metarules.classic_rules.supervised import FeedbackAlignment as FeedbackAlignment
from metarules.classic_rules.supervised import FeedbackAlignmentSettings as FeedbackAlignmentSettings
from metarules.classic_rules.supervised import cross_entropy_error as cross_entropy_error

_guard(__name__)
