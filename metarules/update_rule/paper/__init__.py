"""`PaperRule`: the rule of Metz et al. (ICLR 2019) exactly as its authors released it."""

from metarules.update_rule.paper.rule import PaperRule as PaperRule
from metarules.update_rule.paper.settings import PAPER_INPUTS as PAPER_INPUTS
from metarules.update_rule.paper.settings import PaperRuleSettings as PaperRuleSettings
