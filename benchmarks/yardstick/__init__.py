"""The yardstick: `LocalRule` and `PaperRule` as the foundation had them, frozen at commit 6346ab1.

Speed is told against these, measured in the same run, and results too: the rules of the package must give the same
next phi and the same meta-gradient. Nothing in here is ever improved. Copied as they stood but for the imports; the
readers and writers of TensorFlow's names are left out, which no step calls. Parameters have the package's names, so
`yardstick.load_state_dict(rule.state_dict())` gives both the same theta.
"""

from benchmarks.yardstick.local import LocalRule as LocalRule
from benchmarks.yardstick.local_settings import LocalRuleSettings as LocalRuleSettings
from benchmarks.yardstick.paper import PaperRule as PaperRule
from benchmarks.yardstick.paper_settings import PaperRuleSettings as PaperRuleSettings
