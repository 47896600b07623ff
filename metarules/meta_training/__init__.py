"""The outer loop: theta, the numbers inside a rule, learned by truncated unrolls of many base models.

Source: Metz et al., ICLR 2019, sections 3.3 and 4. From the command line: `python -m metarules.meta_training --help`.
"""

from metarules._arguments import guard as _guard
from metarules._workers import Workers as Workers
from metarules.evaluation.held_out import Judge as Judge
from metarules.evaluation.held_out import JudgeSettings as JudgeSettings
from metarules.evaluation.held_out import validate as validate
from metarules.meta_training.outer_loop import MetaStep as MetaStep
from metarules.meta_training.outer_loop import MetaTrainer as MetaTrainer
from metarules.meta_training.plan import PRESETS as PRESETS
from metarules.meta_training.plan import KeepSettings as KeepSettings
from metarules.meta_training.plan import Plan as Plan
from metarules.meta_training.plan import preset as preset
from metarules.meta_training.ranks import Ranks as Ranks
from metarules.meta_training.run import run as run
from metarules.meta_training.settings import MetaTrainingSettings as MetaTrainingSettings
from metarules.meta_training.short import ShortRun as ShortRun
from metarules.meta_training.short import meta_train as meta_train

_guard(__name__)
