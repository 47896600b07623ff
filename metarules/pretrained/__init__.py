"""Learned rules: save them, load them, and the ones shipped with the package."""

from metarules.pretrained.storage import load_rule as load_rule
from metarules.pretrained.storage import plain as plain
from metarules.pretrained.storage import save_rule as save_rule
from metarules.pretrained.storage import shipped_rules as shipped_rules
from metarules.pretrained.storage import shipped_run as shipped_run
