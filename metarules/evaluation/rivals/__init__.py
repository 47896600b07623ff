"""The rivals that come with the package, one file a family; importing this registers them, in the order of tables."""

from metarules.evaluation.rivals import classical as classical
from metarules.evaluation.rivals import clusters as clusters
from metarules.evaluation.rivals import graphs as graphs
from metarules.evaluation.rivals import reconstruction as reconstruction
from metarules.evaluation.rivals import transferred as transferred
from metarules.evaluation.rivals import views as views
