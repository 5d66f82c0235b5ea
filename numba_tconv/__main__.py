"""`python -m numba_tconv`: the same as the command `numba-tconv`."""

import sys

from numba_tconv.cli import main

if __name__ == "__main__":
    sys.exit(main())
