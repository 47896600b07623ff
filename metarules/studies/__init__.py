"""What the lessons look at, as arrays: no widget and no picture is needed to import or to compute anything here.

============================ ==========================================================================================
module                       what is studied
============================ ==========================================================================================
trajectory                   a rule teaching one base model: accuracies, embedding, filters at every recorded step
layers                       the same, layer by layer, and who is near whom in each
planes                       activities projected onto a plane, and neighbours by cosine
drawing                      one more example, such as a drawn digit, followed along a trajectory
random_net                   an untaught base model, layer by layer
mix                          a mix of hand-written terms, and how alike it makes the neurons
specimen, neuron             one neuron in one step of a learned rule: inputs, messages, terms
backward_weights             angles between V and W, and between a rule's changes and backprop's
objective                    the meta-objective on points in a plane, and its gradient
moons                        two moons pulled apart, and where a read-out divides the plane
evolution                    the snapshots of a meta-training run
timeline                     the same snapshots, each teaching the same base models at every recorded step
classical                    a rule's change of W as a weighted sum of textbook rules, and what is left over
runs                         rules side by side, and the curves of several runs
training_tasks               training tasks as images
live_training                meta-training piece by piece, looked at as it goes
generalisation               recorded grids over nets and data, and any of their cells taught again
truncation_bias              short-sighted meta-gradients beside the true one, ES and PES
============================ ==========================================================================================

A study that lets a rule learn takes `progress`, called with (done, all), and `stop`, an event that, once set, ends it
with `Stopped`.
"""

from metarules._arguments import guard as _guard
from metarules._work import Stopped as Stopped
from metarules.studies.backward_weights import BackwardRun as BackwardRun
from metarules.studies.backward_weights import angle_between as angle_between
from metarules.studies.backward_weights import backward_rule as backward_rule
from metarules.studies.backward_weights import follow_backward_weights as follow_backward_weights
from metarules.studies.classical import classical_fit as classical_fit
from metarules.studies.drawing import Followed as Followed
from metarules.studies.drawing import Follower as Follower
from metarules.studies.evolution import Evolution as Evolution
from metarules.studies.evolution import SnapshotComparison as SnapshotComparison
from metarules.studies.evolution import compare_snapshots as compare_snapshots
from metarules.studies.generalisation import Generalisation as Generalisation
from metarules.studies.layers import LayerExploration as LayerExploration
from metarules.studies.layers import explore_layers as explore_layers
from metarules.studies.mix import Mix as Mix
from metarules.studies.mix import MixRun as MixRun
from metarules.studies.mix import run_mix as run_mix
from metarules.studies.moons import MoonsRun as MoonsRun
from metarules.studies.moons import teach_moons as teach_moons
from metarules.studies.neuron import NeuronView as NeuronView
from metarules.studies.neuron import neuron_view as neuron_view
from metarules.studies.objective import explore_objective as explore_objective
from metarules.studies.objective import make_clouds as make_clouds
from metarules.studies.objective import scene_of as scene_of
from metarules.studies.planes import nearest_alike as nearest_alike
from metarules.studies.planes import plane as plane
from metarules.studies.planes import project as project
from metarules.studies.random_net import RandomNet as RandomNet
from metarules.studies.runs import compare_rules as compare_rules
from metarules.studies.specimen import Specimen as Specimen
from metarules.studies.specimen import prepare as prepare
from metarules.studies.timeline import Timeline as Timeline
from metarules.studies.trajectory import Exploration as Exploration
from metarules.studies.trajectory import explore as explore

_guard(__name__)
