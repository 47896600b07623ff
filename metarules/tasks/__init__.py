"""Data sets that need no download, or are your own, and tasks made of them: data x permutation x split, as tensors.

`load_dataset(name)` gives those that come with the package and three that are fetched once (`openml`),
`read_dataset(path)` a table, arrays or images of your own.
"""

from metarules._arguments import guard as _guard
from metarules.tasks import mnist_5000 as mnist_5000
from metarules.tasks import openml as openml
from metarules.tasks.dataset import DATASETS as DATASETS
from metarules.tasks.dataset import Dataset as Dataset
from metarules.tasks.dataset import load_dataset as load_dataset
from metarules.tasks.dataset import register as register
from metarules.tasks.decoders import TRAIN_FAMILIES as TRAIN_FAMILIES
from metarules.tasks.decoders import VALIDATION_FAMILIES as VALIDATION_FAMILIES
from metarules.tasks.decoders import random_decoder as random_decoder
from metarules.tasks.digits import digits as digits
from metarules.tasks.distribution import draw_dataset as draw_dataset
from metarules.tasks.distribution import draw_tasks as draw_tasks
from metarules.tasks.distribution import validation_tasks as validation_tasks
from metarules.tasks.docstrings import docstrings as docstrings
from metarules.tasks.families import Draw as Draw
from metarules.tasks.families import TaskForm as TaskForm
from metarules.tasks.families import register_family as register_family
from metarules.tasks.glyph_atlas import TRAIN_FONTS as TRAIN_FONTS
from metarules.tasks.glyph_atlas import VALIDATION_FONTS as VALIDATION_FONTS
from metarules.tasks.glyph_rendering import BROAD_GLYPHS as BROAD_GLYPHS
from metarules.tasks.glyph_rendering import NEAT_GLYPHS as NEAT_GLYPHS
from metarules.tasks.glyph_rendering import PARAMETER_NAMES as PARAMETER_NAMES
from metarules.tasks.glyph_rendering import GlyphSettings as GlyphSettings
from metarules.tasks.glyph_rendering import render_glyphs as render_glyphs
from metarules.tasks.glyphs import TRAIN_CHARACTERS as TRAIN_CHARACTERS
from metarules.tasks.glyphs import VALIDATION_CHARACTERS as VALIDATION_CHARACTERS
from metarules.tasks.glyphs import GlyphSplit as GlyphSplit
from metarules.tasks.glyphs import draw_characters as draw_characters
from metarules.tasks.glyphs import glyph_split as glyph_split
from metarules.tasks.glyphs import glyphs as glyphs
from metarules.tasks.handwriting import HANDWRITING_TARGETS as HANDWRITING_TARGETS
from metarules.tasks.handwriting import HandwritingSettings as HandwritingSettings
from metarules.tasks.handwriting import HandwritingSplit as HandwritingSplit
from metarules.tasks.handwriting import handwriting as handwriting
from metarules.tasks.handwriting import handwriting_split as handwriting_split
from metarules.tasks.making import make_task as make_task
from metarules.tasks.making import stack_tasks as stack_tasks
from metarules.tasks.own_data import SUFFIXES as SUFFIXES
from metarules.tasks.own_data import read_bytes as read_bytes
from metarules.tasks.own_data import read_dataset as read_dataset
from metarules.tasks.own_data import read_files as read_files
from metarules.tasks.own_data import some_examples as some_examples
from metarules.tasks.shapes_2d import blobs as blobs
from metarules.tasks.shapes_2d import rings as rings
from metarules.tasks.shapes_2d import spirals as spirals
from metarules.tasks.shapes_2d import two_moons as two_moons
from metarules.tasks.small_tables import breast_cancer as breast_cancer
from metarules.tasks.small_tables import iris as iris
from metarules.tasks.small_tables import wine as wine
from metarules.tasks.task import Task as Task
from metarules.tasks.task_form import DistributionSettings as DistributionSettings
from metarules.tasks.task_form import draw_form as draw_form

_guard(__name__)
