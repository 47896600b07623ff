"""`python -m metarules`: the command `metarules`, where it is not on the PATH."""

import sys

from metarules.command_line import main

if __name__ == "__main__":
    sys.exit(main())
