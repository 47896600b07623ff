"""`python -m metarules.evaluation`."""

import sys

from metarules.evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
