"""`LocalRule`: ours, smaller, whose networks live on single neurons."""

from metarules.update_rule.local.rule import LocalRule as LocalRule
from metarules.update_rule.local.settings import LOCAL_INPUTS as LOCAL_INPUTS
from metarules.update_rule.local.settings import LocalRuleSettings as LocalRuleSettings
from metarules.update_rule.local.terms import LOCAL_TERMS as LOCAL_TERMS
