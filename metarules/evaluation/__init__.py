"""How good a representation or a rule is: few-shot probe, baselines, held-out tasks, ablations, one table format."""

from metarules._arguments import guard as _guard
from metarules.evaluation.baselines import BASELINES as BASELINES
from metarules.evaluation.baselines import Baseline as Baseline
from metarules.evaluation.baselines import UnsuitableError as UnsuitableError
from metarules.evaluation.baselines import baseline_features as baseline_features
from metarules.evaluation.baselines import baseline_guesses as baseline_guesses
from metarules.evaluation.baselines import register_baseline as register_baseline
from metarules.evaluation.diversity import effective_dimension as effective_dimension
from metarules.evaluation.diversity import likeness as likeness
from metarules.evaluation.diversity import mean_likeness as mean_likeness
from metarules.evaluation.diversity import mean_of_pairs as mean_of_pairs
from metarules.evaluation.held_out import Judge as Judge
from metarules.evaluation.held_out import JudgeSettings as JudgeSettings
from metarules.evaluation.held_out import validate as validate
from metarules.evaluation.held_out import validate_baseline as validate_baseline
from metarules.evaluation.leaderboard import Leaderboard as Leaderboard
from metarules.evaluation.locality import lateral_signals as lateral_signals
from metarules.evaluation.probe import Splits as Splits
from metarules.evaluation.probe import class_accuracy as class_accuracy
from metarules.evaluation.probe import few_shot_accuracy as few_shot_accuracy
from metarules.evaluation.probe import probe_splits as probe_splits
from metarules.evaluation.probe import split_accuracy as split_accuracy
from metarules.evaluation.probe import split_guesses as split_guesses
from metarules.evaluation.probe import split_reader as split_reader
from metarules.evaluation.probe import standardise_features as standardise_features
from metarules.evaluation.protocol import Protocol as Protocol
from metarules.evaluation.protocol import evaluate_baseline as evaluate_baseline
from metarules.evaluation.protocol import evaluate_features as evaluate_features
from metarules.evaluation.protocol import evaluate_rule as evaluate_rule
from metarules.evaluation.protocol import layer_accuracies as layer_accuracies
from metarules.evaluation.protocol import learned_state as learned_state
from metarules.evaluation.protocol import model_tasks as model_tasks
from metarules.evaluation.protocol import rule_features as rule_features
from metarules.evaluation.protocol import rule_features_along as rule_features_along
from metarules.evaluation.results import Result as Result
from metarules.evaluation.results import Results as Results
from metarules.evaluation.results import Row as Row
from metarules.evaluation.results import make_result as make_result
from metarules.evaluation.results import mean_and_stderr as mean_and_stderr
from metarules.evaluation.results import mean_ranks as mean_ranks
from metarules.evaluation.results import paired_difference as paired_difference

from metarules.evaluation import rivals as rivals  # isort: skip  (registers them)

_guard(__name__)
