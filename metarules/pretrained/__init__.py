"""Learned rules: their kinds, save them, load them, find them by name, and the ones shipped with the package."""

from metarules._arguments import guard as _guard
from metarules.pretrained.finding import get_rule as get_rule
from metarules.pretrained.finding import rule_names as rule_names
from metarules.pretrained.folder import own_rules as own_rules
from metarules.pretrained.folder import rules_folder as rules_folder
from metarules.pretrained.kinds import KINDS as KINDS
from metarules.pretrained.kinds import register_kind as register_kind
from metarules.pretrained.plain import from_plain as from_plain
from metarules.pretrained.plain import plain as plain
from metarules.pretrained.storage import load_rule as load_rule
from metarules.pretrained.storage import save_rule as save_rule
from metarules.pretrained.storage import shipped_rules as shipped_rules
from metarules.pretrained.storage import shipped_run as shipped_run
from metarules.pretrained.tf_checkpoint import read_tf_checkpoint as read_tf_checkpoint

_guard(__name__)
