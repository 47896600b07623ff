"""Rules: the contract, the paper's rule exactly (`PaperRule`), and our smaller neuron-local one (`LocalRule`)."""

from metarules._arguments import guard as _guard
from metarules.base_model import Batch as Batch
from metarules.update_rule.anatomy import Contributions as Contributions
from metarules.update_rule.anatomy import contributions as contributions
from metarules.update_rule.anatomy import named_inputs as named_inputs
from metarules.update_rule.checking import RuleCheck as RuleCheck
from metarules.update_rule.checking import check_rule as check_rule
from metarules.update_rule.contract import InnerSettings as InnerSettings
from metarules.update_rule.contract import Trace as Trace
from metarules.update_rule.contract import UpdateRule as UpdateRule
from metarules.update_rule.function import FunctionRule as FunctionRule
from metarules.update_rule.local.rule import LocalRule as LocalRule
from metarules.update_rule.local.settings import LOCAL_INPUTS as LOCAL_INPUTS
from metarules.update_rule.local.settings import LocalRuleSettings as LocalRuleSettings
from metarules.update_rule.local.terms import LOCAL_TERMS as LOCAL_TERMS
from metarules.update_rule.paper.rule import PaperRule as PaperRule
from metarules.update_rule.paper.settings import PAPER_INPUTS as PAPER_INPUTS
from metarules.update_rule.paper.settings import PaperRuleSettings as PaperRuleSettings
from metarules.update_rule.terms import TERMS as TERMS

_guard(__name__)
