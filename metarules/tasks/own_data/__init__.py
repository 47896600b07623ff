"""Data of one's own, from files: a table (CSV), arrays (npy, npz) or small images, checked and scaled.

    reading.py  the functions to call; the docstring of `read_dataset` holds all rules
    asked.py    the options, and the limits
    cells.py    how a table is cut: separator, line of names
    numbers.py  decimal points and commas, missing values
    columns.py  which column is label, feature, or left out; whether rows are images
    tables.py   the numbers and labels of a table
    arrays.py   npy and npz, never pickled objects
    names.py    which files are images, and of which class: by folder, or by the beginning of the file name
    images.py   made grey, square and small
    finish.py   labels to class numbers, values to [0, 1], and what every data set must meet

Whatever is wrong with a file is said in one sentence (a ValueError): the file, the row and column counted from 1, what
is wrong there, and what is allowed.
"""

from metarules.tasks.own_data.asked import LEAST_PER_CLASS as LEAST_PER_CLASS
from metarules.tasks.own_data.asked import SEPARATORS as SEPARATORS
from metarules.tasks.own_data.finish import some_examples as some_examples
from metarules.tasks.own_data.reading import SUFFIXES as SUFFIXES
from metarules.tasks.own_data.reading import read_bytes as read_bytes
from metarules.tasks.own_data.reading import read_dataset as read_dataset
from metarules.tasks.own_data.reading import read_files as read_files
