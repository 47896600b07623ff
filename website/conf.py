"""How Sphinx builds the site: `python start.py site`, or `sphinx-build -W -c website . build/site`.

The source folder is the repository, so that pages link to each other as they do there. Lessons are shown as they are
stored, nothing of theirs is run; only the films are made anew. No page asks another host for anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "website")]

import metarules  # noqa: E402

project, author, copyright = "metarules", "The metarules authors", "The metarules authors, MIT licence"
version = release = metarules.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "lessons", "mathml", "reference"]
root_doc = "website/index"
include_patterns = ["website/*.md", "docs/*.md", "notebooks/*.ipynb", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = ["website/README.md", ".venv", ".git", "build", "runs", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = "metarules"
html_static_path = ["static"]
html_extra_path = ["top"]  # leads from the folder to the first page
language = "en"
html_css_files = ["site.css"]
html_js_files = ["film.js"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}  # "edit this page" needs the address of a host

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"
nb_execution_mode = "off"
suppress_warnings = [
    "mystnb.unknown_mime_type",  # a widget's view beside its picture
    "myst.header",  # a lesson's cell may begin with a heading of any level
    "ref.python",  # x is a field of several states, and is meant as a letter
]

default_role = "literal"  # docstrings write names in single backticks
autodoc_typehints = "none"  # shapes and types are in the text of Args
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "imported-members": True, "undoc-members": False}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
napoleon_custom_sections = [("Traits", "params_style")]
